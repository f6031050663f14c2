"""Keys and values that a pass leaves behind, for passes over a part of the canvas (Fast-dLLM, arXiv 2505.22618)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lm_eval_codd.tensors.cuda_graphs import CudaGraphs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class KeyValues:
    """Every layer's keys and values, one slot a row of a batch. Built by `Backbone.new_cache`.

    Keys are kept rotated: a real token's phase never changes, wherever its row's padding ends.

    Args:
        keys: a layer's [S, L, H, D]: slots, columns, heads for keys and values, width of a head.
        values: the same.

    Attributes:
        graphs: of passes that read and write this memory.
    """

    def __init__(self, keys: Sequence[Tensor], values: Sequence[Tensor]) -> None:
        self._keys, self._values = list(keys), list(values)
        self.graphs = CudaGraphs()

    @property
    def num_columns(self) -> int:
        """L, without what was cropped."""
        return self._keys[0].shape[1]

    def crop(self, num_columns: int) -> None:
        """Drop columns on the left, as when a canvas loses padding there. Nothing is copied or freed."""
        self._keys = [keys[:, num_columns:] for keys in self._keys]
        self._values = [values[:, num_columns:] for values in self._values]
        self.graphs.clear()

    def write(self, layer: int, keys: Tensor, values: Tensor, slots: Tensor | None, columns: Tensor | None) -> None:
        """Overwrite one layer's rows `slots` [B] (None: the first B) at `columns` [B, W] (None: the first W).

        Args:
            layer: its index.
            keys: [B, W, H, D], rotated.
            values: [B, W, H, D].
            slots: int64.
            columns: int64. Where a row names a column twice, either is kept.
        """
        num_rows, width = keys.shape[:2]
        for kept, new in ((self._keys[layer], keys), (self._values[layer], values)):
            if columns is not None:
                rows = torch.arange(num_rows, device=kept.device) if slots is None else slots
                kept[rows[:, None], columns] = new
            elif slots is not None:
                kept[:, :width].index_copy_(0, slots, new)
            else:
                kept[:num_rows, :width] = new

    def read(self, layer: int, num_rows: int, length: int, slots: Tensor | None) -> tuple[Tensor, Tensor]:
        """One layer's keys and values, [B, length, H, D] each: rows `slots`, or a view of the first `num_rows`."""
        keys, values = self._keys[layer][:, :length], self._values[layer][:, :length]
        if slots is None:
            return keys[:num_rows], values[:num_rows]
        return keys.index_select(0, slots), values.index_select(0, slots)
