"""Given ids at the beginning of rows, which no draw may change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Clamp:
    """Prompts of a batch of rows.

    fixed: [B, L] bool, where an id is given.
    ids: [B, L] int64, the given ones; 0 elsewhere.
    """

    fixed: Tensor
    ids: Tensor

    @classmethod
    def of(cls, prompts: Sequence[Sequence[int]], length: int, device: torch.device) -> Clamp:
        """Of rows of a length, one prompt a row."""
        ids = torch.tensor([[*prompt, *[0] * (length - len(prompt))] for prompt in prompts], dtype=torch.int64)
        sizes = torch.tensor([len(prompt) for prompt in prompts])
        return cls((torch.arange(length) < sizes[:, None]).to(device), ids.to(device))

    def __call__(self, tokens: Tensor) -> Tensor:
        """Ids [B, L] with the given ones in their places."""
        return self.ids.where(self.fixed, tokens)

    def column(self, tokens: Tensor, place: int) -> Tensor:
        """The same of one column: ids [B]."""
        return self.ids[:, place].where(self.fixed[:, place], tokens)
