"""The requests of a benchmark, with every answer's end forced at the same place, and one decode of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

import lm_eval_codd as codd
from benchmarks.timing import wait

if TYPE_CHECKING:
    from lm_eval_codd.backbones import Backbone
    from lm_eval_codd.circuits import HMM

Result = TypeVar("Result")

# The end token's logit, where all others are 0.
_END_LOGIT = 60.0


@dataclass(frozen=True)
class Run:
    """One decode: seconds for `num_requests` requests, and what came out.

    outputs: None where the run was stopped after so many forward passes; `seconds` is then scaled to all of them.
    """

    seconds: float
    num_requests: int
    outputs: list[codd.Generation] | None

    @property
    def seconds_per_sample(self) -> float:
        """Wall time by request."""
        return self.seconds / self.num_requests


class Workload:
    """Prompts, and a backbone whose final state at answer position `end_at` is the end token's own row of the head.

    The state is replaced where the language-model head reads it, so both the project's loop and one that calls the
    transformers model find the end token there with certainty, after the whole cost of computing it.
    """

    def __init__(
        self, backbone: Backbone, prompts: Sequence[Sequence[int]], *, gen_length: int, end_at: int, batch_size: int
    ) -> None:
        self.backbone = backbone
        self.prompts = list(prompts)
        self.gen_length = gen_length
        self.end_at = end_at
        self.batch_size = batch_size
        row = backbone.model.lm_head.weight[backbone.eos_id].float()
        self._end_state = (_END_LOGIT / row.square().sum() * row).to(backbone.dtype)
        self._forwards_left = -1
        backbone.model.model.register_forward_hook(self._force_in_trunk)
        backbone.hidden_at = self._hidden_at

    @torch.inference_mode()
    def decode(
        self,
        config: codd.DecodingConfig,
        circuit: HMM | None = None,
        *,
        prompts: Sequence[Sequence[int]] | None = None,
        batch_size: int | None = None,
        num_forward: int | None = None,
    ) -> Run:
        """Decode `prompts` (all by default).

        Args:
            config: settings.
            circuit: couples the step's tokens.
            prompts: others than the workload's own.
            batch_size: another than the workload's own.
            num_forward: time only so many forward passes of one batch, and scale to `config.num_steps` of them: without
                early end and thresholds all cost the same.
        """
        prompts = self.prompts if prompts is None else prompts
        batch_size = batch_size or self.batch_size
        if num_forward is not None:
            prompts = prompts[:batch_size]
        self._forwards_left = -1 if num_forward is None else num_forward

        def decode() -> list[codd.Generation] | None:
            try:
                return codd.generate(self.backbone, prompts, config, circuit, batch_size=batch_size)
            except _Enough:
                return None

        seconds, outputs = timed(self.backbone.device, decode)
        self._forwards_left = -1
        if outputs is None:
            seconds *= config.num_steps / num_forward
        return Run(seconds, len(prompts), outputs)

    def check_ends(self, outputs: Sequence[codd.Generation]) -> None:
        """Every answer ends where it was forced to, and nowhere before.

        Raises:
            RuntimeError: one does not; its figures would belong to another workload.
        """
        lengths = sorted({output.num_answer_tokens for output in outputs})
        if lengths != [self.end_at]:
            raise RuntimeError(f"answers have {lengths} tokens instead of {self.end_at}; use another `--seed`")

    def _force_in_trunk(self, _: Any, __: Any, output: Any) -> Any:
        """For whoever calls the transformers model, with the whole canvas."""
        hidden = output.last_hidden_state
        hidden[:, hidden.shape[1] - self.gen_length + self.end_at] = self._end_state
        return output

    def _hidden_at(self, tokens: Tensor, attention_mask: Tensor | None, positions: Tensor, **span: Any) -> Tensor:
        """The backbone's own, with the end forced; counts forward passes, and stops at the last that is wanted."""
        if self._forwards_left == 0:
            raise _Enough
        self._forwards_left -= 1
        # By way of the class, where time is measured.
        hidden = type(self.backbone).hidden_at(self.backbone, tokens, attention_mask, positions, **span)
        is_end = positions == tokens.shape[1] - self.gen_length + self.end_at
        return torch.where(is_end[..., None], self._end_state, hidden)


def timed(device: torch.device, function: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds of one call, and its result."""
    wait(device)
    started = time.perf_counter()
    result = function()
    wait(device)
    return time.perf_counter() - started, result


class _Enough(Exception):
    """So many forward passes were wanted."""
