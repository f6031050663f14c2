"""Draws of masks: random numbers of a prompt, rounds of samples, and the error of their mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.likelihood.asking import Ask, Estimate, Told
from lm_eval_codd.tensors.noise import Stream, uniforms

if TYPE_CHECKING:
    from lm_eval_codd.likelihood.asking import Target
    from lm_eval_codd.settings import LikelihoodConfig


def of_positions(target: Target, draws: range) -> Tensor:
    """[K, n] float64: a number in (0, 1) for each token of each draw."""
    columns = torch.arange(len(target)).expand(len(draws), -1)
    return uniforms(target.key.expand(len(draws)), Stream.RANK, _numbers(draws), columns)


def of_counts(target: Target, draws: range) -> Tensor:
    """[K] float64: one number in (0, 1) for each draw."""
    columns = torch.zeros(len(draws), 1, dtype=torch.int64)
    return uniforms(target.key.expand(len(draws)), Stream.COUNT, _numbers(draws), columns)[:, 0]


def _numbers(draws: range) -> Tensor:
    return torch.arange(draws.start, draws.stop)


def mean_of_draws(
    target: Target,
    config: LikelihoodConfig,
    size: int,
    draw: Callable[[range], tuple[Tensor, Tensor]],
    variance_of_sum: Callable[[list[Tensor]], float],
) -> Generator[Ask, Told, Estimate]:
    """The mean of samples; all that are asked for, or one round after the other until the error is small enough.

    Args:
        target: of the masks.
        config: how many samples, and which error is small enough.
        size: samples of a round.
        draw: from the numbers of a round's draws to masks [K, n], and what each sum of log probabilities is
            multiplied by.
        variance_of_sum: of all samples, from those of each round.
    """
    samples: list[Tensor] = []
    for some in [[each] for each in rounds(config, size)] if config.target_stderr else [rounds(config, size)]:
        masks, weights = zip(*map(draw, some), strict=True)
        together = torch.cat(masks)
        told = yield Ask(together, together)
        samples += (told.together * torch.cat(weights)).split([len(each) for each in some])
        number, mean = some[-1].stop, float(torch.cat(samples).mean())
        if mean == -math.inf:  # a token that is ruled out under one mask: no other mask changes that
            return Estimate(mean, 0.0)
        stderr = math.sqrt(variance_of_sum(samples)) / number if number > 1 else None
        if stderr is not None and config.target_stderr is not None and stderr <= config.target_stderr:
            break
    return Estimate(mean, stderr)


def rounds(config: LikelihoodConfig, size: int) -> list[range]:
    """The draws in rounds of a size; where one would be left over, the last round takes it too."""
    starts = list(range(0, config.num_samples, size))
    if len(starts) > 1 and size > 1 and config.num_samples - starts[-1] == 1:
        starts.pop()
    return [range(*ends) for ends in pairwise([*starts, config.num_samples])]


def as_independent(samples: list[Tensor]) -> float:
    """The variance of the sum as if all were drawn independently: ladders vary less."""
    together = torch.cat(samples)
    return len(together) * float(together.var())


def as_groups(samples: list[Tensor], size: int) -> float:
    """The variance of the sum where `size` samples after each other belong together, and groups are independent.

    From the differences of neighbouring groups of each round, which hold their own variances and the steps between
    their means; a share is added because few groups say little of themselves.
    """
    of_groups = [torch.stack([group.mean() for group in each.split(size)]) for each in samples]
    number = sum(map(len, of_groups))
    if min(map(len, of_groups)) < 2:
        return as_independent(samples)
    variance = sum(
        len(each) ** 2 / len(means) * float(means.diff().square().mean()) / 2
        for each, means in zip(samples, of_groups, strict=True)
    )
    return variance * (number + 1) / (number - 1)
