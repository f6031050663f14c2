"""EC-DLM's schedules: how many experts a token gets on average, by the share of the row that is masked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor


def scheduled_k(schedule: str, ratio: Tensor, k_min: int, k_max: int, sigma: float) -> Tensor:
    """Experts per token of rows with these shares of masks.

    Args:
        schedule: one of `SCHEDULES`.
        ratio: [B] float32, masked positions by positions.
        k_min: the fewest.
        k_max: the most.
        sigma: width of the Gaussian ones.

    Returns:
        [B] int64, rounded half to even, from `k_min` to `k_max`.
    """
    share = SCHEDULES[schedule](ratio, sigma)
    return (k_min + share * (k_max - k_min)).round().clamp(k_min, k_max).long()


def _cosine(ratio: Tensor) -> Tensor:
    return (1 + (math.pi * (1 - ratio)).cos()) / 2


def _gaussian(ratio: Tensor, sigma: float) -> Tensor:
    """1 where half is masked, 0 where all or nothing is."""
    at_the_ends = math.exp(-0.25 / (2 * sigma**2))
    bell = (-((ratio - 0.5) ** 2) / (2 * sigma**2)).exp()
    return ((bell - at_the_ends) / (1 - at_the_ends)).clamp(0, 1)


SCHEDULES: Final[dict[str, Callable[[Tensor, float], Tensor]]] = {
    "linear": lambda ratio, _: ratio,
    "linear_reverse": lambda ratio, _: 1 - ratio,
    "cosine": lambda ratio, _: _cosine(ratio),
    "cosine_reverse": lambda ratio, _: _cosine(1 - ratio),
    "bell": lambda ratio, _: (1 - 4 * (ratio - 0.5) ** 2).clamp(0, 1),
    "bell_gaussian": _gaussian,
    "bell_gaussian_reverse": lambda ratio, sigma: 1 - _gaussian(ratio, sigma),
}
