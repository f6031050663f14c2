"""LLaDA2.1's rule (github.com/inclusionAI/LLaDA2.X): as LLaDA2.0's without a number of steps, and tokens are edited.

A block is left when a forward over it without masks edits nothing, or after `max_post_steps` of those. Its forwards are
no more than its positions and those together, which officially nothing bounds where the mask itself is predicted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from lm_eval_codd.decoding.decoders.block_diffusion.rule import Rule, Stand, high_or_best

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.step import Step
    from lm_eval_codd.settings import DecodingConfig

# Entries of `Canvas.state`: forwards over the full block, and whether the last one of them edited nothing.
_POST: Final = "post_steps"
_SETTLED: Final = "settled"


class LLaDA21(Rule):
    """See `Rule`."""

    edits = True

    def __init__(self, config: DecodingConfig, device: torch.device) -> None:
        super().__init__(config, device)
        assert config.max_post_steps is not None  # the settings fill in the rule's own
        self._max_post_steps = config.max_post_steps
        self._most = config.block_length + config.max_post_steps

    def start(self, canvas: Canvas) -> None:
        """See `Rule`."""
        canvas.state[_POST] = torch.zeros_like(canvas.step)
        canvas.state[_SETTLED] = torch.zeros_like(canvas.step, dtype=torch.bool)

    def goes_on(self, canvas: Canvas, stand: Stand) -> Tensor:
        """See `Rule`."""
        may_edit = (canvas.state[_POST] < self._max_post_steps) & ~canvas.state[_SETTLED]
        return (stand.masked.any(dim=1) | may_edit) & (stand.taken < self._most)

    def wanted(self, stand: Stand) -> Tensor:
        """See `Rule`."""
        return stand.inside

    def commits(
        self, canvas: Canvas, stand: Stand, step: Step, tokens: Tensor, confidence: Tensor
    ) -> tuple[Tensor, Mapping[str, Any]]:
        """See `Rule`."""
        config, now = self.config, canvas.at(step.columns)
        assert config.threshold is not None and config.editing_threshold is not None  # likewise
        masked = step.committable & (now == canvas.ids.mask)
        filled = high_or_best(confidence, masked, config.threshold, torch.ones_like(stand.taken))
        edited = step.committable & ~masked & (confidence > config.editing_threshold) & (tokens != now)
        was_full = ~masked.any(dim=1)
        post = torch.where(stand.taken == 0, 0, canvas.state[_POST]) + was_full
        return filled | edited, {_POST: post, _SETTLED: was_full & ~edited.any(dim=1)}
