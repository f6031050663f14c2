"""Which row of a cache of keys and values each row of the batch has, while rows join and leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from lm_eval_codd.tensors.transfer import to_device

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.protocols import KeyValues, SplitBackbone


# Columns by which a canvas gets narrower at once: each time, what was captured of the cache (`CudaGraphs`) is lost.
NARROWER_CACHE: Final = 32


class Slots:
    """A cache that is as wide as the canvas, and whose rows are given out and taken back."""

    def __init__(self, backbone: SplitBackbone) -> None:
        self._backbone = backbone
        self.cache: KeyValues | None = None
        self._width = 0
        self._free: list[int] = []
        self._slot_of: dict[int, int] = {}

    def follow(self, canvas: Canvas) -> None:
        """Give slots to the rows that joined the canvas, and take back those of the rows that left it."""
        width = canvas.tokens.shape[1]
        if self.cache is None:
            # The longest prompts come first, and a canvas never has more rows than at the start.
            self.cache, self._width = self._backbone.new_cache(len(canvas), width), width
            self._free = list(range(len(canvas)))
        if width < self._width:
            self.cache.crop(self._width - width)
            self._width = width
        for index in self._slot_of.keys() - set(canvas.indices):
            self._free.append(self._slot_of.pop(index))
        for index in canvas.indices:
            if index not in self._slot_of:
                self._slot_of[index] = self._free.pop(0)

    @property
    def number(self) -> int:
        """How many there are."""
        return len(self._free) + len(self._slot_of)

    def spread(self, slots: Tensor, values: Tensor, *, filling: float | bool = 0) -> Tensor:
        """Values [R, ...] of the rows in `slots` [R], for all slots in order."""
        return values.new_full((self.number, *values.shape[1:]), filling).index_copy_(0, slots, values)

    def of(self, canvas: Canvas, rows: Sequence[int]) -> Tensor | None:
        """[R] int64, slots of some rows; None for the slots 0, 1, ... in order."""
        numbers = [self._slot_of[canvas.indices[row]] for row in rows]
        if numbers == list(range(len(numbers))):
            return None
        return to_device(numbers, canvas.tokens.device)
