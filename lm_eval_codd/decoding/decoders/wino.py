"""WINO, wide in and narrow out (arXiv 2507.18578), as its code for LLaDA does it.

Blocks from left to right. A step writes every masked position of the block that is surer than a low threshold, and
takes back the tokens that the block had before, where each one's probability without itself, given all others, is
below a high threshold. It takes back fewer than the step before it has written, so a block is full after no more steps
than it has positions. Both scores are of one network evaluation (`shadow_network`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.decoding.candidates import Support, draw, in_pieces, most_likely, tempered_support
from lm_eval_codd.decoding.commitment import surest
from lm_eval_codd.decoding.confidence import low_confidence
from lm_eval_codd.decoding.step import Decision, Look, Step
from lm_eval_codd.tensors.noise import Stream

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas, Ids
    from lm_eval_codd.decoding.logits import Logits
    from lm_eval_codd.decoding.protocols import Circuit
    from lm_eval_codd.settings import DecodingConfig

# Entries of `Canvas.state`, as the step before left them. [B, G] bool: what is to be decided. A mask that was predicted
# is decided, until the next block begins.
_OPEN: Final = "open"
# [B] int64: the block, -1 before the first one; and how many positions were written.
_BLOCK: Final = "block"
_WRITTEN: Final = "written"

# The authors' code: a step writes no more than 7 of 10 masked positions, but 5 in any case, and 20 at most.
_SHARE: Final = (7, 10)
_FEWEST, _MOST = 5, 20
# What the step before a block's first one counts as having written.
_WRITTEN_BEFORE: Final = 30


class Wino:
    """See `Decoder`."""

    revises = True
    takes_pieces = True

    def __init__(
        self, config: DecodingConfig, family: str, ids: Ids, device: torch.device, circuit: Circuit | None = None
    ) -> None:
        self._config, self._mask = config, ids.mask

    def start(self, canvas: Canvas) -> None:
        """See `Decoder`."""
        canvas.state[_OPEN] = torch.zeros_like(canvas.answer, dtype=torch.bool)
        canvas.state[_BLOCK] = torch.full_like(canvas.step, -1)
        canvas.state[_WRITTEN] = torch.zeros_like(canvas.step)

    def look(self, canvas: Canvas) -> Look:
        """See `Decoder`."""
        block, open_ = self._turn(canvas)
        going = open_.any(dim=1)
        blocks = self._blocks(canvas)
        if self._config.stop_at_eos:
            going &= ~canvas.ended(among=blocks < block[:, None])
        verified = (blocks == block[:, None]) & canvas.variable & ~open_
        wanted = (open_ | verified) & going[:, None]
        return Look(canvas.step, block, wanted, open_.sum(dim=1), verified=verified)

    def decide(self, canvas: Canvas, step: Step, logits: Logits) -> Decision:
        """See `Decoder`."""
        verified = step.verified
        assert verified is not None  # as it was looked at
        is_open = step.wanted & ~verified
        current = canvas.at(step.columns)
        drawn = step.uniforms(Stream.TOKEN) if self._config.temperature > 0 else None
        tokens, probability = in_pieces(step, logits, self._propose, current, verified, drawn)
        # Logits that are not finite give no probability, and the step goes on all the same.
        score = torch.where(probability.isnan(), -torch.inf, probability)
        threshold = self._config.threshold
        assert threshold is not None  # the settings fill in wino's own

        block, open_ = self._turn(canvas)
        num_open = is_open.sum(dim=1)
        most = (num_open * _SHARE[0] // _SHARE[1]).clamp(_FEWEST, _MOST)
        num_sure = (is_open & (score > threshold)).sum(dim=1)
        written = surest(score, is_open, num_sure.clamp(min=1).minimum(most))
        num_written = written.sum(dim=1)

        is_first = block > canvas.state[_BLOCK]
        written_before = canvas.state[_WRITTEN].masked_fill(is_first, _WRITTEN_BEFORE)
        unsure = verified & (score < self._config.threshold_back)
        taken_back = surest(-score, unsure, torch.where(num_written > 1, written_before - 1, 0))

        state = {
            _OPEN: open_.scatter(1, step.columns, (is_open & ~written) | taken_back),
            _BLOCK: block,
            _WRITTEN: num_written,
        }
        return Decision(tokens.masked_fill(taken_back, self._mask), probability, written | taken_back, state)

    def _propose(
        self, logits: Tensor, current: Tensor, verified: Tensor, drawn: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What may be written, or stands there to be verified, and its untempered probability."""
        filling = most_likely(logits) if drawn is None else draw(tempered_support(logits, self._config), drawn)
        tokens = torch.where(verified, current, filling)
        return tokens, low_confidence(Support(logits), tokens, None)

    def _turn(self, canvas: Canvas) -> tuple[Tensor, Tensor]:
        """[B], each row's block, and [B, G] bool, what is to be decided there.

        Where the block is full, the next one with masks; then the masks of earlier ones, which were predicted there,
        are to be decided too.
        """
        open_, blocks = canvas.state[_OPEN], self._blocks(canvas)
        left = canvas.masked & canvas.variable
        first_left = blocks[left.int().argmax(dim=1)]
        is_full = ~open_.any(dim=1)
        block = torch.where(is_full, first_left.maximum(canvas.state[_BLOCK] + 1), canvas.state[_BLOCK])
        is_there = (block <= blocks[-1])[:, None]
        return block, torch.where(is_full[:, None], left & is_there & (blocks <= block[:, None]), open_)

    def _blocks(self, canvas: Canvas) -> Tensor:
        """[G]: the block of each position."""
        return torch.arange(canvas.answer.shape[1], device=canvas.answer.device) // self._config.block_length
