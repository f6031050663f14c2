"""Means over documents that were answered more than once: by repeats, under several templates, or with several seeds.

Answers to one document are alike, so they do not count as so many documents: every error here is over documents, each
a cluster of its answers (Liang and Zeger 1986, with the factor G / (G - 1) for G documents; Miller 2024, arXiv
2411.00640). SciPy has the quantiles of Student's t; it is imported where they are asked for, since most reports have
one answer a document and need none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Estimate", "clustered_mean", "quantile_of_t"]


@dataclass(frozen=True)
class Estimate:
    """A mean with its error.

    Attributes:
        mean: over all values.
        stderr: clustered; infinite with a single cluster.
        clusters: documents; `n`: values.
    """

    mean: float
    stderr: float
    clusters: int
    n: int

    def interval(self, coverage: float = 0.95) -> tuple[float, float]:
        """By Student's t with a degree of freedom for each cluster but one.

        Infinite where an exact test of the clusters' signs could rule out nothing at this coverage: at 95% up to five.
        """
        if 2 * 0.5**self.clusters >= 1 - coverage:
            return -math.inf, math.inf
        width = quantile_of_t((1 + coverage) / 2, self.clusters - 1) * self.stderr
        return self.mean - width, self.mean + width

    @property
    def p(self) -> float:
        """Of the mean being 0, two-sided; 1 where nothing varies and it is.

        Never below the least that an exact test of the clusters' signs can give: two of two are no proof, however
        alike they are.
        """
        return min(1.0, 2 * max(self.p_above(abs(self.mean)), 0.5**self.clusters))

    def seen_from(self, level: float) -> float | None:
        """The smallest mean that could have been significant at a level; None where nothing varies, or none could."""
        if not self.stderr or 2 * 0.5**self.clusters >= level:
            return None
        return quantile_of_t(1 - level / 2, self.clusters - 1) * self.stderr

    def p_above(self, shift: float) -> float:
        """One side of a test: how likely Student's t is above a `shift` of the mean, which is divided by its error."""
        if self.clusters < 2:
            return 0.5
        if self.stderr == 0:
            return 0.5 if shift == 0 else float(shift < 0)
        from scipy.special import stdtr

        return float(stdtr(self.clusters - 1, -shift / self.stderr))


def clustered_mean(clusters: Iterable[Sequence[float]]) -> Estimate:
    """The mean of all values, with its error over clusters; clusters may be of different sizes.

    Raises:
        ValueError: there is no value.
    """
    values = [np.asarray(cluster, dtype=float) for cluster in clusters if len(cluster)]
    n, number = sum(map(len, values)), len(values)
    if not n:
        raise ValueError("there are no values to take the mean of")
    mean = float(sum(cluster.sum() for cluster in values)) / n
    if number == 1:
        return Estimate(mean, math.inf, 1, n)
    squares = sum(float((cluster - mean).sum()) ** 2 for cluster in values)
    return Estimate(mean, math.sqrt(squares * number / (number - 1)) / n, number, n)


def quantile_of_t(share: float, freedom: int) -> float:
    """The value that Student's t with so many degrees of freedom is below with this probability."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))
