"""Decoders that go block by block until a block holds no mask: which block a row is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.decoding.canvas import Canvas


def open_block(
    canvas: Canvas, blocks: Tensor, steps_of_block: int, *, stop_at_eos: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The first block of each row that holds masks and has not had its steps.

    Args:
        canvas: rows of blocks of one width.
        blocks: [N] int64, 0 to N - 1.
        steps_of_block: after which a block is left, with masks in it or not.
        stop_at_eos: whether a row that has its end token is done.

    Returns:
        Each [B]: whether the row goes on, its block, and the number of its step.
    """
    # A block that was left with masks in it is not entered again.
    is_ahead = blocks >= canvas.step[:, None] // steps_of_block
    is_open = canvas.masked.unflatten(1, (len(blocks), -1)).any(dim=2) & is_ahead
    going = is_open.any(dim=1)
    if stop_at_eos:
        going &= ~canvas.ended()
    block = is_open.int().argmax(dim=1)
    return going, block, canvas.step.maximum(block * steps_of_block)
