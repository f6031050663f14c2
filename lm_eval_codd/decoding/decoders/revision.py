"""What decoders share whose steps mask again as many positions as a plan says (spec/decoders.md 2, 3, 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from lm_eval_codd.decoding.coupling import make_tiles
from lm_eval_codd.decoding.step import Decision, Step
from lm_eval_codd.tensors.transfer import to_device

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.decoding.canvas import Canvas, Ids
    from lm_eval_codd.decoding.logits import Logits
    from lm_eval_codd.decoding.protocols import Circuit
    from lm_eval_codd.settings import DecodingConfig


class Plan:
    """How many of a row's positions are masked after each step: a share of them, in float32 and rounded down.

    Args:
        shares: a number for each step; they fall.
        device: of the canvas.
    """

    def __init__(self, shares: Sequence[float], device: torch.device) -> None:
        self._shares = to_device(shares, device, torch.float32)

    def __call__(self, step: Tensor, variable: Tensor) -> Tensor:
        """[B] int64, for each row's `step` [B], counted from 0, of its positions that may change, [B, G] bool."""
        share = self._shares[step.clamp(max=len(self._shares) - 1)]
        return (variable.sum(dim=1).float() * share).long()

    def is_under_way(self, step: Tensor) -> Tensor:
        """[B] bool: whether there is such a step."""
        return step < len(self._shares)


class Revising:
    """Most of a `Decoder` that scores every position of the answer; `shares` says how many are masked after a step."""

    revises = True
    takes_pieces = True

    def __init__(
        self, config: DecodingConfig, family: str, ids: Ids, device: torch.device, circuit: Circuit | None = None
    ) -> None:
        self._config = config
        self._mask = ids.mask
        self._plan = Plan(self.shares(config), device)
        self._tiles = make_tiles(config, circuit)

    @staticmethod
    def shares(config: DecodingConfig) -> list[float]:
        """The share of a row's positions that each step leaves masked, as a `Plan` takes them."""
        raise NotImplementedError

    def start(self, canvas: Canvas) -> None:
        """Fix what a draft gives, where the caller did not say what is fixed."""
        if canvas.fixed is None:
            canvas.fixed = canvas.inside & ~canvas.masked

    def decide(self, canvas: Canvas, step: Step, logits: Logits) -> Decision:
        """See `Decoder`; with a circuit, `logits` are coupled where its tiles say so."""
        if self._tiles is not None:
            self._tiles.couple(canvas, step, logits)
        return self.revise(canvas, step, logits)

    def revise(self, canvas: Canvas, step: Step, logits: Logits) -> Decision:
        """What the step writes."""
        raise NotImplementedError


def revision(step: Step, tokens: Tensor, score: Tensor, masked: Tensor, kept: Tensor, mask_id: int) -> Decision:
    """Write the candidates where a masked position is to be decided, and the mask where a decided one is not.

    Args:
        step: the positions.
        tokens: [B, P], candidates.
        score: [B, P], what they were ranked by.
        masked: [B, P] bool, as the step found them.
        kept: [B, P] bool, which are decided after the step.
        mask_id: of the mask.
    """
    taken_back = ~masked & ~kept & step.committable
    return Decision(tokens.masked_fill(taken_back, mask_id), score, (masked & kept) | taken_back)
