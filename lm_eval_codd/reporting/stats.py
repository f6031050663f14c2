"""The statistics of tables and checks: exact tests where there are any.

Each test is one sum over the counts that were possible, which NumPy does in microseconds; importing SciPy's statistics
alone would take longer than a whole check.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np

__all__ = [
    "DetectableChange",
    "detectable_change",
    "detectable_change_of_gain",
    "fisher",
    "gain_difference",
    "holm",
    "interval_between",
    "mcnemar",
    "paired_interval",
    "smallest_net_change",
    "wilson",
]

_RESAMPLES: Final = 10_000
# Probabilities of equally likely tables differ in their last digits.
_TIE: Final = 1 + 1e-7


class DetectableChange(NamedTuple):
    """The smallest drop and the smallest rise, as shares, that a test would have called significant.

    None where not even the lowest (highest) possible score would have been.
    """

    drop: float | None
    rise: float | None


def fisher(correct: int, n: int, other_correct: int, other_n: int) -> float:
    """The p-value of two independent samples having one rate: Fisher's exact test, two-sided."""
    total = correct + other_correct
    counts = np.arange(max(0, total - other_n), min(n, total) + 1)
    weights = _log_choose(n, counts) + _log_choose(other_n, total - counts)
    return _two_sided(weights, correct - counts[0])


def gain_difference(base: int, codd: int, n: int, other_base: int, other_codd: int, other_n: int) -> float:
    """The p-value of two measurements of a gain having one odds ratio: Zelen's exact test, two-sided.

    Base and CoDD count as independent samples within a measurement. They are not, they answer the same items, so
    their true difference varies less than assumed, and the test errs on the side of "consistent".
    """
    total, margin, other_margin = codd + other_codd, base + codd, other_base + other_codd
    lowest = max(0, margin - n, total - min(other_n, other_margin))
    highest = min(n, margin, total - max(0, other_margin - other_n))
    counts = np.arange(lowest, highest + 1)
    others = total - counts
    weights = _log_choose(n, counts) + _log_choose(n, margin - counts)
    weights += _log_choose(other_n, others) + _log_choose(other_n, other_margin - others)
    return _two_sided(weights, codd - lowest)


def mcnemar(better: int, worse: int) -> float:
    """The p-value of as many items having turned right as wrong: McNemar's exact test, two-sided."""
    turned = better + worse
    return _two_sided(_log_choose(turned, np.arange(turned + 1)), better)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for their number (Holm 1979): compare each with the level as it is."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def paired_interval(better: int, worse: int, n: int) -> tuple[float, float]:
    """Percentile interval (95%) of a paired bootstrap of (better - worse) / n.

    Drawing n items with replacement and counting the two kinds is one draw of a multinomial.
    """
    return _percentiles(_resampled(better, worse, n, np.random.default_rng(0)))


def interval_between(first: tuple[int, int, int], second: tuple[int, int, int]) -> tuple[float, float]:
    """Percentile interval (95%) of the first gain less the second, each (better, worse, n) over items of its own."""
    generator = np.random.default_rng(0)
    return _percentiles(_resampled(*first, generator) - _resampled(*second, generator))


def wilson(correct: int, n: int, *, coverage: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share: within 0 and 1, and of use where few answers are right, or few wrong."""
    z = NormalDist().inv_cdf((1 + coverage) / 2)
    centre, scale = (correct + z * z / 2) / (n + z * z), z / (n + z * z)
    width = scale * math.sqrt(correct * (n - correct) / n + z * z / 4)
    return max(0.0, centre - width), min(1.0, centre + width)


def detectable_change(correct: int, n: int, measured_n: int, level: float) -> DetectableChange:
    """What `fisher` would have seen against a reference of `correct` of `n`, at this level."""
    same = round(correct / n * measured_n)
    return _detectable(lambda k: fisher(k, measured_n, correct, n) <= level, same, measured_n)


def detectable_change_of_gain(
    base: int, n: int, other_base: int, other_codd: int, other_n: int, level: float
) -> DetectableChange:
    """What `gain_difference` would have seen: changes of the gain, for a measured base of `base` of `n`."""
    same = min(n, max(0, base + round((other_codd - other_base) / other_n * n)))
    return _detectable(lambda k: gain_difference(base, k, n, other_base, other_codd, other_n) <= level, same, n)


def smallest_net_change(discordant: int, level: float) -> int:
    """Items that had to turn one way more than the other for `mcnemar`, if `discordant` or more of them turned."""
    needed = max(discordant, math.ceil(1 - math.log2(level)))
    while mcnemar(needed, 0) > level:
        needed += 1
    worse = _last(lambda k: mcnemar(needed - k, k) <= level, needed // 2)
    return needed - 2 * worse


def _resampled(better: int, worse: int, n: int, generator: np.random.Generator) -> np.ndarray:
    draws = generator.multinomial(n, [better / n, worse / n, (n - better - worse) / n], size=_RESAMPLES)
    return (draws[:, 0] - draws[:, 1]) / n


def _percentiles(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def _two_sided(log_weights: np.ndarray, observed: int) -> float:
    """The share of all outcomes that are no more likely than the observed one."""
    weights = np.exp(log_weights - log_weights.max())
    return min(1.0, float(weights[weights <= weights[observed] * _TIE].sum() / weights.sum()))


def _log_choose(n: int, k: np.ndarray) -> np.ndarray:
    logs = _log_factorials(1 << n.bit_length())
    return logs[n] - logs[k] - logs[n - k]


@lru_cache
def _log_factorials(up_to: int) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, up_to + 1)))])


def _detectable(is_seen: Callable[[int], bool], same: int, n: int) -> DetectableChange:
    """The count nearest to `same` that is seen, each way; what is seen stays seen farther away."""
    drop = rise = None
    if is_seen(0):
        drop = (same - _last(is_seen, same)) / n
    if is_seen(n):
        rise = (n - same - _last(lambda k: is_seen(n - k), n - same)) / n
    return DetectableChange(drop, rise)


def _last(holds: Callable[[int], bool], highest: int) -> int:
    """The largest k up to `highest` for which `holds`; it holds at 0 and, once it fails, no more."""
    low, high = 0, highest + 1
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low
