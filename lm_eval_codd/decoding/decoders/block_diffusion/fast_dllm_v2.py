"""Fast-dLLM v2's rule (arXiv 2509.26328): a block's first token comes from the block before it, the rest by parts.

The forward that stores a finished block also predicts the next token, as the autoregressive model did. As officially,
but for what is an error there: a prompt of exactly one block is computed, not lost, and a block's forwards are no more
than its positions, which nothing bounds there where the mask itself is predicted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lm_eval_codd.decoding.commitment import surest
from lm_eval_codd.decoding.decoders.block_diffusion.rule import Extent, Rule, Stand, first_from, nucleus

if TYPE_CHECKING:
    from lm_eval_codd.decoding.candidates import Support
    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.step import Step


class FastDllmV2(Rule):
    """See `Rule`."""

    stores = True
    stores_predict = True

    def extent(self, num_prompt: int) -> Extent:
        """As many blocks as `gen_length` has room for, the first of them begun by the prompt; and a token more."""
        length = self.config.block_length
        num_blocks = num_prompt // length + self.config.gen_length // length
        return Extent(num_prompt, num_blocks, num_blocks * length - num_prompt + 1)

    def goes_on(self, canvas: Canvas, stand: Stand) -> Tensor:
        """See `Rule`."""
        return stand.masked.any(dim=1) & (stand.taken < self.config.block_length)

    def wanted(self, stand: Stand) -> Tensor:
        """The masks of the first part that has any."""
        assert self.config.small_block_length is not None  # the settings fill in the rule's own
        part = stand.place.div(self.config.small_block_length, rounding_mode="floor")
        first = part.masked_fill(~stand.masked, torch.iinfo(part.dtype).max).amin(dim=1)
        return stand.masked & (part == first[:, None])

    def part(self, stand: Stand) -> Tensor:
        """That part, once its first token is there and the block has been computed as a whole."""
        assert self.config.small_block_length is not None  # likewise
        start = stand.place.masked_fill(~self.wanted(stand), torch.iinfo(torch.int64).max).amin(dim=1)
        begin = start.div(self.config.small_block_length, rounding_mode="floor") * self.config.small_block_length
        is_whole = (stand.taken == 0) | (start == begin)
        return torch.where(is_whole, -1, begin - stand.block * self.config.block_length)

    def finishing(self, stand: Stand) -> Tensor:
        """The next block's first position."""
        return first_from(stand.place, (stand.block + 1) * self.config.block_length)

    def finishes(self, stand: Stand, step: Step) -> Tensor:
        """That position, unless it is the prompt's."""
        place = stand.place.gather(1, step.columns)
        return step.committable & (place == (stand.block[:, None] + 1) * self.config.block_length)

    def support(self, logits: Tensor) -> Support:
        """The nucleus alone, of the tempered distribution."""
        return nucleus(logits / self.config.temperature, None, self.config.top_p)

    def commits(
        self, canvas: Canvas, stand: Stand, step: Step, tokens: Tensor, confidence: Tensor
    ) -> tuple[Tensor, Mapping[str, Any]]:
        """See `Rule`: all that are sure, and the surest one."""
        assert self.config.threshold is not None  # likewise
        high = step.committable & (confidence > self.config.threshold)
        return high | surest(confidence, step.committable, torch.ones_like(stand.taken)), {}
