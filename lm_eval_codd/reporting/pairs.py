"""Two runs on the same items: how many answers turned right or wrong, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lm_eval_codd.reporting.samples import Outcomes, different_items, read_outcomes
from lm_eval_codd.reporting.stats import mcnemar, paired_interval

if TYPE_CHECKING:
    from lm_eval_codd.reporting.run import Run

__all__ = ["Pair", "compare_outcomes", "compare_runs", "pooled"]


@dataclass(frozen=True)
class Pair:
    """A paired comparison over `n` items.

    Attributes:
        better: items that the second answers right and the first wrong; `worse`: the other way round.
        p: McNemar's exact test, two-sided.
        low, high: 95% paired bootstrap interval of the difference, as shares.
    """

    n: int
    better: int
    worse: int
    p: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """Second less first, as a share."""
        return (self.better - self.worse) / self.n


def compare_runs(first: Run, second: Run) -> Pair:
    """The paired comparison of two runs; raises `ValueError` with the reason when they cannot be compared."""
    if first.metric != second.metric:
        raise ValueError(f"their metrics differ: {first.metric} and {second.metric}")
    return compare_outcomes(read_outcomes(first), read_outcomes(second))


def compare_outcomes(first: Outcomes, second: Outcomes) -> Pair:
    """The same on outcomes that were read before."""
    if reason := different_items(first, second):
        raise ValueError(reason)
    shared = first.keys() & second.keys()
    if not {*first.values(), *second.values()} <= {0.0, 1.0}:
        raise ValueError("the scores of items are not 0 or 1")
    better = sum(first[key] < second[key] for key in shared)
    worse = sum(first[key] > second[key] for key in shared)
    return _pair(len(shared), better, worse)


def pooled(pairs: Iterable[Pair]) -> Pair:
    """One comparison over the items of several, every item counting alike."""
    return _pair(*(sum(column) for column in zip(*((p.n, p.better, p.worse) for p in pairs), strict=True)))


def _pair(n: int, better: int, worse: int) -> Pair:
    return Pair(n, better, worse, mcnemar(better, worse), *paired_interval(better, worse, n))
