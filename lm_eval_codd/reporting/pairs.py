"""Two runs on the same items: how many answers turned right or wrong, and whether that is more than chance."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lm_eval_codd.reporting.clustered import clustered_mean
from lm_eval_codd.reporting.samples import Outcomes, different_items, read_outcomes
from lm_eval_codd.reporting.stats import mcnemar, paired_interval, smallest_net_change

if TYPE_CHECKING:
    from lm_eval_codd.reporting.run import Run

__all__ = ["LEVEL", "Pair", "compare_outcomes", "compare_runs", "pooled"]

# At which `seen_from` asks what could have been significant.
LEVEL: Final = 0.05


@dataclass(frozen=True)
class Pair:
    """A paired comparison over `n` items.

    Attributes:
        better: items that the second answers right (better) and the first wrong (worse); `worse`: the other way round.
        difference: second less first, as a share.
        p: McNemar's exact test, two-sided.
        low, high: 95% paired bootstrap interval of the difference, as shares; infinite where graded items are too few
            for one.
        seen_from: the smallest difference that could have been significant at `LEVEL` with items that vary as these
            do; None where no difference could have been.
        stderr: of the difference, as a share; of items that score 0 or 1 the usual one of paired shares.
        is_graded: items score other than 0 or 1, as of several answers to each; `p` and interval are then of a paired
            t-test over items.
    """

    n: int
    better: int
    worse: int
    difference: float
    p: float
    low: float
    high: float
    seen_from: float | None
    stderr: float
    is_graded: bool = False


def compare_runs(first: Run, second: Run) -> Pair:
    """The paired comparison of two runs; raises `ValueError` with the reason when they cannot be compared."""
    if first.metric != second.metric:
        raise ValueError(f"their metrics differ: {first.metric} and {second.metric}")
    if not (first.is_mean and second.is_mean):
        raise ValueError(f"{first.metric} is no mean over items")
    outcomes = read_outcomes(first), read_outcomes(second)
    is_graded = not {*outcomes[0].values(), *outcomes[1].values()} <= {0.0, 1.0}
    return _graded(*outcomes) if is_graded else compare_outcomes(*outcomes)


def compare_outcomes(first: Outcomes, second: Outcomes) -> Pair:
    """The same on outcomes that were read before, each 0 or 1."""
    if reason := different_items(first, second):
        raise ValueError(reason)
    shared = first.keys() & second.keys()
    if not {*first.values(), *second.values()} <= {0.0, 1.0}:
        raise ValueError("the scores of items are not 0 or 1")
    better = sum(first[key] < second[key] for key in shared)
    worse = sum(first[key] > second[key] for key in shared)
    return _pair(len(shared), better, worse)


def pooled(pairs: Iterable[Pair]) -> Pair:
    """One comparison over the items of several, every item counting alike; of items that score 0 or 1."""
    return _pair(*(sum(column) for column in zip(*((p.n, p.better, p.worse) for p in pairs), strict=True)))


def _pair(n: int, better: int, worse: int) -> Pair:
    net = smallest_net_change(better + worse, LEVEL)
    low, high = paired_interval(better, worse, n)
    seen_from = net / n if net <= n else None
    difference = (better - worse) / n
    stderr = math.sqrt(((better + worse) / n - difference**2) / n)
    return Pair(n, better, worse, difference, mcnemar(better, worse), low, high, seen_from, stderr)


def _graded(first: Outcomes, second: Outcomes) -> Pair:
    if reason := different_items(first, second):
        raise ValueError(reason)
    changes = [second[key] - first[key] for key in sorted(first.keys() & second.keys())]
    found = clustered_mean([change] for change in changes)
    if found.clusters < 2:
        raise ValueError("a single item has no spread")
    better, worse = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
    low, high = found.interval()
    seen_from, stderr = found.seen_from(LEVEL), found.stderr
    return Pair(found.n, better, worse, found.mean, found.p, low, high, seen_from, stderr, is_graded=True)
