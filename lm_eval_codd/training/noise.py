"""Randomness of a run: a function of the seed and of what it is for, so a checkpoint has no random state to keep."""

from __future__ import annotations

import hashlib
from typing import Final

import torch
from torch import Tensor

# The draw with which held-out rows are always measured; training draws count from 0.
HELD_OUT_DRAW: Final = -1


def generator_for(*purpose: object) -> torch.Generator:
    """A generator on the CPU, seeded by what it is for."""
    digest = hashlib.sha256(" ".join(map(str, purpose)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def draw_mask(seed: int, draw: int, row: int, length: int) -> Tensor:
    """[length] bool on the CPU: each token masked with probability t, t ~ U(0, 1) drawn for the row.

    The same for a resumed run, a cache and any batch size.
    """
    uniforms = torch.rand(length + 1, generator=generator_for("noise", seed, draw, row))
    return uniforms[1:] < uniforms[0]


class Order:
    """Epochs over `size` items in batches; each epoch in an order of its own, made from the seed and its number."""

    def __init__(self, size: int, batch_size: int, seed: int) -> None:
        self._size, self._batch_size, self._seed = size, min(batch_size, size), seed
        self.batches_per_epoch = -(-size // self._batch_size)

    def batch(self, step: int) -> tuple[Tensor, int]:
        """Indices of the items of a step, and the epoch it belongs to."""
        epoch, place = divmod(step, self.batches_per_epoch)
        order = torch.randperm(self._size, generator=generator_for("order", self._seed, epoch))
        return order[place * self._batch_size :][: self._batch_size], epoch
