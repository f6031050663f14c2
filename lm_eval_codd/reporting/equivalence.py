"""Is a difference too small to matter? Two one-sided tests (TOST) of a paired difference against a margin.

"Not significant" is no evidence that nothing was lost: with few items nothing is significant. A claim of no loss is
that the difference lies within a margin, and needs a test of its own (Schuirmann 1987). For items that score 0 or 1
both tests are the score test of a paired difference (Tango 1998): its variance is that of the hypothesis, so that no
item turning over few items is no proof. For graded items they are paired t-tests, and never surer than an exact test
of the changes' signs; unless none of them changed: that has no spread, and is tested as if they scored 0 or 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

from lm_eval_codd.reporting.clustered import Estimate

if TYPE_CHECKING:
    from lm_eval_codd.reporting.pairs import Pair

__all__ = ["DEFAULT_MARGIN", "LEVEL", "POWER", "Equivalence", "equivalence_of", "score_statistic"]

# Points.
DEFAULT_MARGIN: Final = 1.0
# Of each of the two tests.
LEVEL: Final = 0.05
# That `needed` asks for.
POWER: Final = 0.8
_NORMAL: Final = NormalDist()


@dataclass(frozen=True)
class Equivalence:
    """What the two tests found.

    Attributes:
        p: the larger of the two one-sided p-values.
        low, high: the interval that belongs to them, of coverage 1 - 2 x `LEVEL`, as shares; infinite where graded
            items are too few for one.
        verdict: `equivalent`, `worse`, `better` or `cannot tell`.
        needed: of `cannot tell`, the items that could.
    """

    p: float
    low: float
    high: float
    verdict: str
    needed: int | None = None

    def __str__(self) -> str:
        """`cannot tell (needs n = 9100)`."""
        return self.verdict if self.needed is None else f"{self.verdict} (needs n = {self.needed})"


def equivalence_of(pair: Pair, margin: float) -> Equivalence:
    """Whether the second of a pair is within `margin` (a share) of the first.

    Raises:
        ValueError: the margin is no share above 0 and below 1.
    """
    if not 0 < margin < 1:
        raise ValueError(f"`margin={margin:g}` must be above 0 and below 1, a share")
    below, above = _p_above(pair, -margin), 1 - _p_above(pair, margin)
    bounds = _bound(pair, 1 - LEVEL), _bound(pair, LEVEL)
    p = max(below, above, 0.5**pair.n if _has_spread(pair) else 0.0)
    if p < LEVEL:
        return Equivalence(p, *bounds, "equivalent")
    if bounds[1] < 0:
        return Equivalence(p, *bounds, "worse")
    if bounds[0] > 0:
        return Equivalence(p, *bounds, "better")
    return Equivalence(p, *bounds, "cannot tell", _needed(pair, margin))


def score_statistic(better: int, worse: int, n: int, shift: float) -> float:
    """Tango's statistic of (better - worse) / n being `shift`: standard normal where it is.

    The share of items that turn worse is the most likely one under the hypothesis (his equation 9).
    """
    linear = -better - worse + (2 * n - better + worse) * shift
    root = math.sqrt(max(0.0, linear**2 + 8 * n * worse * shift * (1 - shift)))
    share = (root - linear) / (4 * n)
    variance = n * (2 * share + shift * (1 - shift))
    difference = better - worse - n * shift
    if variance <= 0:
        return 0.0 if abs(difference) < 1e-9 else math.copysign(math.inf, difference)
    return difference / math.sqrt(variance)


def _p_above(pair: Pair, shift: float) -> float:
    """The one-sided p-value of the difference being `shift` or less, against more."""
    if _has_spread(pair):
        return _estimate(pair).p_above(pair.difference - shift)
    return 1 - _NORMAL.cdf(score_statistic(pair.better, pair.worse, pair.n, shift))


def _bound(pair: Pair, level: float) -> float:
    """The shift of which `_p_above` is 1 - `level`: a bound of the interval."""
    if _has_spread(pair):
        low, high = _estimate(pair).interval(1 - 2 * LEVEL)
        return low if level > 0.5 else high
    low, high = -1.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        # The larger the shift, the likelier a difference as low as this.
        if _p_above(pair, middle) > 1 - level:
            high = middle
        else:
            low = middle
    return (low + high) / 2


def _has_spread(pair: Pair) -> bool:
    """Whether it is one of graded items, some of which changed."""
    return pair.is_graded and pair.better + pair.worse > 0


def _estimate(pair: Pair) -> Estimate:
    return Estimate(pair.difference, pair.stderr, pair.n, pair.n)


def _needed(pair: Pair, margin: float) -> int:
    """Items for a chance of `POWER` to say `equivalent` where there is no difference and as many of them turn.

    Where there are that many already: to say it, or `worse` or `better`, where the difference is the one measured.
    """
    z, of_power = _NORMAL.inv_cdf(1 - LEVEL), _NORMAL.inv_cdf(POWER)
    spread = pair.stderr**2 * pair.n if _has_spread(pair) else (pair.better + pair.worse) / pair.n
    # Over fewer, no item turning is no proof either, nor are changes that all have one sign.
    least = math.floor(-math.log2(LEVEL)) + 1 if _has_spread(pair) else z**2 * (1 - margin) / margin
    number = math.ceil(max(least, spread * ((z + _NORMAL.inv_cdf((1 + POWER) / 2)) / margin) ** 2))
    if number > pair.n:
        return number
    distance = max(abs(pair.difference), margin - abs(pair.difference))
    return max(pair.n + 1, math.ceil(spread * ((z + of_power) / distance) ** 2))
