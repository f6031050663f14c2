"""What the machine could do: bytes and floating-point operations of the shapes over ceilings measured on it.

A call can be no faster than its operations at the rate of a large matrix product, nor than its bytes at the rate of a
large copy; the larger of both is its floor. Only what must be done is counted: weights are read once a call, of the
last layer only the asked positions are computed, and what passes between layers stays in the caches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from benchmarks.timing import best_times

if TYPE_CHECKING:
    from benchmarks.model import Shape


@dataclass(frozen=True)
class Work:
    """Floating-point operations and bytes of a call."""

    operations: float
    bytes: float


@dataclass(frozen=True)
class Ceilings:
    """Operations a second of a large matrix product, and bytes a second of a large copy, read and written."""

    operations: float
    bandwidth: float

    def floor(self, work: Work) -> float:
        """The least seconds that `work` can take."""
        return max(work.operations / self.operations, work.bytes / self.bandwidth)


def measure_ceilings(dtype: torch.dtype, device: torch.device) -> Ceilings:
    """Of this process, with its threads, in `dtype`."""
    size, copied = (8192, 2**30) if device.type == "cuda" else (1024, 2**28)
    left, right = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    source = torch.ones(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product, copy = best_times([lambda: left @ right, lambda: target.copy_(source)], 5, device)
    return Ceilings(2 * size**3 / product, 2 * copied / copy)


def trunk_work(shape: Shape, rows: int, queries: int, keys: int, asked: int, itemsize: int) -> Work:
    """The layers, without embedding and head.

    Args:
        shape: of the backbone, with as many key-value heads as heads.
        rows: of the batch.
        queries: columns of a row that pass through.
        keys: columns that they attend to.
        asked: columns whose final state is wanted.
        itemsize: bytes of a weight.
    """
    width, mlp = shape.width, shape.mlp
    key_value, rest = 2 * width**2, 2 * width**2 + 3 * width * mlp
    operations = 0
    for layer in range(shape.layers):
        computed = asked if layer == shape.layers - 1 else queries
        operations += 2 * (queries * key_value + computed * rest) + 4 * computed * keys * width
    cached = 2 * (keys - queries) * width * shape.layers * rows
    return Work(rows * operations, itemsize * (shape.layers * (key_value + rest) + cached))


def head_work(shape: Shape, positions: int, itemsize: int) -> Work:
    """The language-model head at so many positions: the table and the states read, the logits written."""
    numbers = shape.width * shape.vocab_size + positions * (shape.width + shape.vocab_size)
    return Work(2 * positions * shape.width * shape.vocab_size, itemsize * numbers)


def circuit_work(
    num_latents: int, num_positions: int, vocab_size: int, rows: int, masked: int, itemsize: int, evidence_itemsize: int
) -> Work:
    """One evaluation, draw and coupling of `rows` windows with `masked` masked positions in all.

    The emission table and the evidence are read once, the coupled logits written, and an emission read for each.
    """
    product = 2 * masked * num_latents * vocab_size
    chain = 2 * rows * (num_positions - 1) * num_latents**2
    moved = itemsize * vocab_size * (num_latents + masked) + 2 * evidence_itemsize * masked * vocab_size
    return Work(product + chain, moved)
