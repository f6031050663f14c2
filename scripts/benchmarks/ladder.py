"""What each step from the official loop to the fast one gives: the official step with one thing changed at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmarks.table import Row
from benchmarks.timing import best_times

if TYPE_CHECKING:
    from benchmarks.workload import Run
    from lm_eval_codd import DecodingConfig
    from lm_eval_codd.backbones import Backbone


def climb(
    backbone: Backbone, prompts: Sequence[Sequence[int]], config: DecodingConfig, exact: Run, *, repeats: int
) -> Iterator[Row]:
    """Seconds per sample of each rung, and what it gains over the one below.

    The rungs of the plain loop are timed on the first step of a decode and scaled to all: without early end they cost
    the same. The last rung is the project's own loop.

    Args:
        backbone: the model.
        prompts: of one length, the batch of the batched rung.
        config: lengths and steps.
        exact: the project's loop on these prompts, with early end.
        repeats: of each step, of which the best counts.
    """
    rows = [[*prompt, *[backbone.mask_id] * config.gen_length] for prompt in prompts]
    batch = torch.tensor(rows, device=backbone.device)
    first = len(prompts[0])
    block = torch.arange(first, first + config.block_length, device=backbone.device).expand(len(prompts), -1)

    def step(tokens: Tensor, positions: Tensor | None, confidence: Callable[[Tensor, Tensor], Tensor]) -> object:
        @torch.inference_mode()
        def run() -> Tensor:
            if positions is None:
                logits = backbone.model(input_ids=tokens, use_cache=False).logits
            else:
                logits = backbone.logits(tokens, None, positions)
            return confidence(logits, logits.argmax(dim=-1, keepdim=True)).topk(1).indices

        return run

    rungs = [
        ("official", "full-length head, float64 softmax of the canvas, batch 1", step(batch[:1], None, _double), 1),
        ("active_block", "logits and softmax of the active block only", step(batch[:1], block[:1], _double), 1),
        ("log_odds", "float32 log-odds for the float64 softmax", step(batch[:1], block[:1], _log_odds), 1),
        ("batched", f"{len(prompts)} requests a batch", step(batch, block, _log_odds), len(prompts)),
    ]
    seconds = best_times([run for _, _, run, _ in rungs], repeats, backbone.device)
    costs = [
        (name, note, config.num_steps * spent / size)
        for (name, note, _, size), spent in zip(rungs, seconds, strict=True)
    ]
    needed = max(output.num_forward for output in exact.outputs) / config.num_steps
    costs.append(("early_end", "the forward passes up to the answers' ends only; computed", costs[-1][2] * needed))
    costs.append(("ours", "exact mode", exact.seconds_per_sample))
    below = None
    for name, note, cost in costs:
        yield Row(f"decode.ladder.{name}.seconds_per_sample", cost, "s", note=note)
        if below is not None:
            yield Row(f"decode.ladder.{name}.gain", below / cost, "x")
        below = cost


def _double(logits: Tensor, candidates: Tensor) -> Tensor:
    return logits.double().softmax(dim=-1).gather(-1, candidates)[..., 0]


def _log_odds(logits: Tensor, candidates: Tensor) -> Tensor:
    own = logits.gather(-1, candidates)[..., 0].float()
    others = logits.scatter(-1, candidates, -torch.inf).float().logsumexp(dim=-1)
    return torch.sigmoid((own - others).double())
