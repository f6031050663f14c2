"""Which of a step's positions are committed: the surest, as many as the schedule or a floor allows.

With `threshold` or `factor` the schedule allows all, and the n-th surest position (n = 0, 1, ...) needs a confidence
at or above a floor; the surest needs none, so that every step gets on. Fast-dLLM (arXiv 2505.22618, section 3.3):
`threshold` is one floor for all, `factor` the floors 1 - factor / (n + 2), which rise with the number committed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lm_eval_codd.settings import DecodingConfig

Floor = Callable[[Tensor], Tensor]


def make_floor(config: DecodingConfig) -> Floor | None:
    """The floor that the settings ask for, a function of the places [P] int64 in a row's order; None: no floor."""
    threshold, factor = config.threshold, config.factor
    if threshold is not None:
        return lambda place: torch.where(place == 0, -torch.inf, threshold)
    if factor is not None:
        return lambda place: torch.where(place == 0, -torch.inf, 1 - factor / (place + 2))
    return None


def surest(score: Tensor, committable: Tensor, budget: Tensor, floor: Floor | None = None, turn: int = 0) -> Tensor:
    """[B, P] bool: the `budget` [B] best scores among the committable; the leftmost first where scores are equal.

    Args:
        score: [B, P].
        committable: [B, P] bool.
        budget: [B] int64, at most so many.
        floor: see `make_floor`; the best that reach it, up to the first that does not.
        turn: place in the row's order of the best one here.
    """
    order = ranked(score, committable)
    places = torch.arange(order.shape[1], device=order.device)
    if floor is not None:
        reached = score.gather(1, order) >= floor(places + turn)
        budget = budget.minimum(reached.cumprod(dim=1).sum(dim=1))
    rank = torch.empty_like(order).scatter_(1, order, places.expand_as(order))
    return committable & (rank < budget[:, None])


def ranked(score: Tensor, committable: Tensor) -> Tensor:
    """[B, P] int64: positions from the best score [B, P] to the least, the committable [B, P] before the others."""
    # Two stable sorts: -inf is a score that a committable position can have.
    by_score = score.argsort(dim=1, descending=True, stable=True)
    open_first = committable.gather(1, by_score).byte().argsort(dim=1, descending=True, stable=True)
    return by_score.gather(1, open_first)
