"""The Monte Carlo bound of masked diffusion (LLaDA, arXiv 2502.09992, Eq. 6).

log p(x) >= E[n / l sum of log p(x_i | the rest)] over l uniform on 1..n and l masked positions i, drawn without
replacement.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.likelihood.draws import as_groups, as_independent, mean_of_draws, of_counts, of_positions

if TYPE_CHECKING:
    from lm_eval_codd.likelihood.asking import Estimator, Target
    from lm_eval_codd.settings import LikelihoodConfig


# Draws that share a permutation, where there are enough of them for several groups.
_GROUP: Final = 4


def mc(target: Target, config: LikelihoodConfig) -> Estimator:
    """Estimate the bound from `num_samples` masks."""
    is_official = config.ladder == "official"
    size = config.ladder_size if is_official or config.target_stderr else config.num_samples
    group = 1 if is_official or size < 4 * _GROUP else _GROUP
    numbers = official_ladder if is_official else strata

    def draw(draws: range) -> tuple[Tensor, Tensor]:
        num_masked = numbers(of_counts(target, draws), len(target))
        masks = side_by_side(of_positions(target, draws), num_masked, group)
        return masks, len(target) / num_masked.double()

    spread = as_independent if is_official else partial(as_groups, size=group)
    return (yield from mean_of_draws(target, config, size, draw, spread))


def side_by_side(uniform: Tensor, num_masked: Tensor, group: int) -> Tensor:
    """Random masks [K, n] of so many tokens [K].

    The masks of a group are stretches of one permutation, each begins where the one before it ends, and goes on from
    the other end. So every token is masked about equally often, which varies less; each mask by itself is uniform.

    Args:
        uniform: [K, n], of which the first row of each group gives its permutation.
        num_masked: [K] int64.
        group: masks in a group.
    """
    first = torch.arange(len(uniform)) // group * group
    rank = uniform.argsort(dim=1).argsort(dim=1)[first]
    before = num_masked.cumsum(dim=0) - num_masked
    return (rank - (before - before[first])[:, None]) % uniform.shape[1] < num_masked[:, None]


def strata(uniform: Tensor, length: int) -> Tensor:
    """[K] numbers of masked tokens, 1 to `length`: one from each of K equal strata of the uniform distribution."""
    size = len(uniform)
    level = (torch.arange(size) + uniform) / size
    return (level * length).long().clamp(max=length - 1) + 1


def official_ladder(uniform: Tensor, length: int) -> Tensor:
    """[K] numbers of masked tokens, 1 to `length`, evenly spaced from a random start and rounded half to even.

    The rounding favours even numbers where K is a multiple of 2 `length` and the like (spec/decoding.md 3); it and the
    float32 of the original are kept.
    """
    size = len(uniform)
    first = int(float(uniform[0]) * length) + 1
    steps = torch.linspace(float(first), first + (size - 1) * (length / size), steps=size)
    return (steps.round().long() - 1) % length + 1
