"""Perplexity per token over documents of several tokens each, with its standard error."""

from __future__ import annotations

import math
from collections.abc import Sequence

Items = Sequence[tuple[float, int]]


def perplexity(items: Items) -> float:
    """exp(-sum of nats / sum of tokens); nan where there is no token, inf beyond what a float holds.

    Args:
        items: (log-likelihood in nats, tokens) of each document.
    """
    tokens = sum(count for _, count in items)
    return _exp(-math.fsum(nats for nats, _ in items) / tokens) if tokens else math.nan


def perplexity_stderr(items: Items) -> float:
    """Its standard error over the documents, of a ratio of sums to first order; nan of a single one.

    Args:
        items: as for `perplexity`.
    """
    number, tokens = len(items), sum(count for _, count in items)
    if number < 2 or not tokens:
        return math.nan
    mean = math.fsum(nats for nats, _ in items) / tokens
    squares = math.fsum((nats - mean * count) ** 2 for nats, count in items)
    return _exp(-mean) * math.sqrt(number / (number - 1) * squares) / tokens


def _exp(nats: float) -> float:
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf
