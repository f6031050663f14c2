"""SDAR's rule (github.com/JetAstra/SDAR): small blocks, each filled in `num_steps` steps and stored.

As officially, but for what is an error there: a step commits no more than is masked, so that no token of the prompt is
overwritten, nor one that `sequential` decided beyond a mask that was predicted; and a block that has had its steps is
stored whatever is left in it. `rule=sdar_greedy` is this one
without a temperature: the authors' greedy is a draw from one token, which has probability 1 whatever the model thinks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lm_eval_codd.decoding.commitment import surest
from lm_eval_codd.decoding.decoders.block_diffusion.rule import Rule, Stand, high_or_best, quotas

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.step import Step
    from lm_eval_codd.settings import DecodingConfig


class Sdar(Rule):
    """Three ways to choose: `dynamic` by the threshold, `static` by confidence, `sequential` from the left."""

    stores = True

    def __init__(self, config: DecodingConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self._num_steps = config.steps
        self._quotas = quotas(config.steps, config.block_length, device)

    def goes_on(self, canvas: Canvas, stand: Stand) -> Tensor:
        """See `Rule`."""
        return stand.masked.any(dim=1) & (stand.taken < self._num_steps)

    def commits(
        self, canvas: Canvas, stand: Stand, step: Step, tokens: Tensor, confidence: Tensor
    ) -> tuple[Tensor, Mapping[str, Any]]:
        """See `Rule`."""
        quota = self._quotas[stand.taken.clamp(max=self._num_steps - 1)]
        if self.config.remask == "sequential":
            return surest(-step.columns, step.committable, quota), {}
        if self.config.remask == "static":
            return surest(confidence, step.committable, quota), {}
        assert self.config.threshold is not None  # the settings fill in the rule's own
        return high_or_best(confidence, step.committable, self.config.threshold, quota), {}
