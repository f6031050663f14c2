"""The chain rule in one order: exact for that order, n canvases for n tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lm_eval_codd.likelihood.asking import Ask, Estimate, surest

if TYPE_CHECKING:
    from lm_eval_codd.likelihood.asking import Estimator, Target
    from lm_eval_codd.settings import LikelihoodConfig


def chain(target: Target, config: LikelihoodConfig) -> Estimator:
    """Log p of each token given those before it in the order, the rest masked."""
    return (yield from (_leftmost if config.order == "left" else _surest)(target))


def _leftmost(target: Target) -> Estimator:
    """Left to right (LLaDA's `ar`, Dream's `ar_ftb`): all canvases are known beforehand."""
    next_one = torch.eye(len(target), dtype=torch.bool)
    told = yield Ask(next_one.cumsum(dim=1).bool(), next_one)
    return Estimate(float(told.together.sum()), 0.0)


def _surest(target: Target) -> Estimator:
    """Always the position whose most likely token is likeliest, the leftmost on ties."""
    masked, value = torch.ones(1, len(target), dtype=torch.bool), 0.0
    for _ in range(len(target)):
        told = yield Ask(masked, masked, tops=True)
        assert told.tops is not None and told.alone is not None  # asked for
        place = surest(told.tops[0])
        value += float(told.alone[0, place])
        masked = masked.clone()
        masked[0, place] = False
    return Estimate(value, 0.0)
