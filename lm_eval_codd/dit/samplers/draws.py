"""One id a position from its weights."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_eval_codd.tensors.noise import Stream, uniforms

# Of the official draw, for u = 0 and u = 1.
_TINY = 1e-10
_FLOAT32_STEPS = 1 << 24


def by_inverse(weights: Tensor, uniform: Tensor, last: int | None) -> tuple[Tensor, Tensor]:
    """[N] ids from weights [N, V] by inverse CDF, a number in (0, 1) a position; and the sums of the weights [N].

    The sums are finite where all weights are.

    Args:
        weights: up to a scale; that of `last` may be below 0, and is 0 then. Overwritten.
        uniform: [N] float64.
        last: an id that stands after all others, so that a position that stays masked is known by its number alone.
    """
    if last is None:
        cumulative = weights.cumsum(dim=-1)
        total = cumulative[:, -1]
    else:
        behind = weights[:, last].clamp(min=0)
        weights[:, last] = 0.0
        cumulative = weights.cumsum(dim=-1)
        total = cumulative[:, -1] + behind
    point = torch.minimum(uniform * total, total.nextafter(torch.zeros_like(total)))
    ids = torch.searchsorted(cumulative, point[:, None], right=True)[:, 0]
    if last is None:
        return ids.clamp(max=weights.shape[-1] - 1), total
    # Also where they are no numbers, which have no place among others.
    return torch.where(point < cumulative[:, -1], ids, last), total


def by_race(weights: Tensor, uniform: Tensor) -> Tensor:
    """[N] ids from weights and numbers in [0, 1), both [N, V], as the official code draws them, in their dtype."""
    return (weights / (_TINY - (uniform + _TINY).log())).argmax(dim=-1)


def float32_numbers(keys: Tensor, step: Tensor, columns: Tensor, size: int) -> Tensor:
    """[N, V] float32 numbers in [0, 1), as coarse as torch's own: of the rows' keys, the step and the columns [N]."""
    each = columns[:, None] * size + torch.arange(size, device=columns.device)
    exact = uniforms(keys, Stream.TOKEN, step, each)
    return (exact * _FLOAT32_STEPS).floor().div_(_FLOAT32_STEPS).float()
