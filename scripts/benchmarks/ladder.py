"""What each step from the official loop to the fast one gives: the official step with one thing changed at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmarks.table import Row
from benchmarks.timing import best_times
from lm_eval_codd.decoding.candidates import Support, most_likely
from lm_eval_codd.decoding.confidence import low_confidence

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

    def step(tokens: Tensor, positions: Tensor | None, confidence: Callable[[Tensor], Tensor]) -> object:
        @torch.inference_mode()
        def run() -> Tensor:
            if positions is None:
                logits = backbone.model(input_ids=tokens, use_cache=False).logits
            else:
                logits = backbone.logits(tokens, None, positions)
            return confidence(logits.flatten(0, 1)).view(len(tokens), -1).topk(1).indices

        return run

    rungs = [
        ("official", "head and float64 softmax over the whole canvas, batch 1", step(batch[:1], None, _double), 1),
        ("active_block", "both over the active block only", step(batch[:1], block[:1], _double), 1),
        ("float32", "candidates and confidences in float32", step(batch[:1], block[:1], _single), 1),
        ("batched", f"{len(prompts)} requests a batch", step(batch, block, _single), len(prompts)),
    ]
    seconds = best_times([run for _, _, run, _ in rungs], repeats, backbone.device)
    costs = [
        (name, note, config.num_steps * spent / size)
        for (name, note, _, size), spent in zip(rungs, seconds, strict=True)
    ]
    needed = max(output.num_forward for output in exact.outputs) / config.num_steps
    costs.append(("early_end", "the forward passes up to the answers' ends only; computed", costs[-1][2] * needed))
    costs.append(("ours", "exact mode: logits of the masked positions only, and the rest", exact.seconds_per_sample))
    below = None
    for name, note, cost in costs:
        yield Row(f"decode.ladder.{name}.seconds_per_sample", cost, "s", note=note)
        if below is not None:
            yield Row(f"decode.ladder.{name}.gain", below / cost, "x")
        below = cost


def _double(logits: Tensor) -> Tensor:
    candidates = logits.argmax(dim=-1, keepdim=True)
    return logits.double().softmax(dim=-1).gather(-1, candidates)[..., 0]


def _single(logits: Tensor) -> Tensor:
    logits = logits.float()
    return low_confidence(Support(logits), most_likely(logits), None)
