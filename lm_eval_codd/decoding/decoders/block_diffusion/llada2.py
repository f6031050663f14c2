"""LLaDA2.0's rule (github.com/inclusionAI/LLaDA2.X): as many as are sure, at least a share of the block, in steps.

Masks that are left in a block after its steps, since the mask itself was predicted, stay and are context for the later
blocks, as officially.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lm_eval_codd.decoding.decoders.block_diffusion.rule import Rule, Stand, high_or_best, quotas

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.step import Step
    from lm_eval_codd.settings import DecodingConfig


class LLaDA2(Rule):
    """See `Rule`."""

    stops_anyway = True

    def __init__(self, config: DecodingConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self._num_steps = max(1, min(config.steps, config.gen_length // config.minimal_per_step))
        self._quotas = quotas(self._num_steps, config.block_length, device)

    def goes_on(self, canvas: Canvas, stand: Stand) -> Tensor:
        """See `Rule`."""
        return stand.masked.any(dim=1) & (stand.taken < self._num_steps)

    def commits(
        self, canvas: Canvas, stand: Stand, step: Step, tokens: Tensor, confidence: Tensor
    ) -> tuple[Tensor, Mapping[str, Any]]:
        """See `Rule`."""
        assert self.config.threshold is not None  # the settings fill in the rule's own
        quota = self._quotas[stand.taken.clamp(max=self._num_steps - 1)]
        return high_or_best(confidence, step.committable, self.config.threshold, quota), {}
