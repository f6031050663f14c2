"""Decoders that go block by block until a block holds no mask: the blocks, and which one a row is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.settings import DecodingConfig


class Blocks:
    """An answer's blocks, all of one width; the answer itself where the settings do not go by blocks.

    Attributes:
        number: N, of blocks.
        width: positions of each.
        of_column: [G] int64, the block of each position of the answer.
    """

    def __init__(self, config: DecodingConfig, device: torch.device) -> None:
        self.number = config.num_blocks if config.goes_by_blocks else 1
        self.width = config.gen_length // self.number
        self._stop_at_eos = config.stop_at_eos
        self._block = torch.arange(self.number, device=device)
        self.of_column = self._block.repeat_interleave(self.width, output_size=config.gen_length)

    def open(self, canvas: Canvas, steps_of_block: int) -> tuple[Tensor, Tensor, Tensor]:
        """The first block of each row that holds masks and has not had its steps.

        Args:
            canvas: rows of such answers.
            steps_of_block: after which a block is left, with masks in it or not.

        Returns:
            Each [B]: whether the row goes on, its block, and the number of its step.
        """
        # A block that was left with masks in it is not entered again.
        is_ahead = self._block >= canvas.step[:, None] // steps_of_block
        is_open = canvas.masked.unflatten(1, (self.number, -1)).any(dim=2) & is_ahead
        going = is_open.any(dim=1)
        if self._stop_at_eos:
            going &= ~canvas.ended()
        block = is_open.int().argmax(dim=1)
        return going, block, canvas.step.maximum(block * steps_of_block)
