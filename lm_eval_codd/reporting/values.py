"""Metrics that are no share of right answers: a value with its standard error, never paired or checked as an accuracy.

A new metric is a line of `KINDS`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from lm_eval_codd.reporting.metrics import number
from lm_eval_codd.settings import LOWER_BOUND

__all__ = ["KINDS", "Kind", "Value", "is_value", "values_of"]


class Kind(NamedTuple):
    """What is known of a metric.

    Attributes:
        lower_is_better: None where neither is.
        of_likelihoods: computed from log-likelihoods, so a bound where they are bounds.
        beside: metrics without which it says nothing, and is not shown.
    """

    lower_is_better: bool | None
    of_likelihoods: bool = False
    beside: tuple[str, ...] = ()


KINDS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(
        (
            *("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte"),
            *("token_perplexity", "bits_per_token"),
        ),
        Kind(True, of_likelihoods=True),
    ),
    # Repeating a word makes a text likely: generative perplexity is read with the entropy of the text alone.
    "gen_ppl": Kind(True, beside=("entropy", "nfe")),
    **dict.fromkeys(("entropy", "entropy_bits", "entropy_without_pad", "entropy_bits_without_pad"), Kind(None)),
    "nfe": Kind(None),
    "unscored": Kind(None),
    "brier_score": Kind(True),
    "bleu": Kind(False),
    "chrf": Kind(False),
    "ter": Kind(True),
}


@dataclass(frozen=True)
class Value:
    """What a run measured.

    Attributes:
        metric: as lm-eval spells it ("metric,filter").
        value: in the metric's own unit.
        stderr: over documents, as lm-eval has it; None where it has none.
        is_bound: the model's own value is no worse.
    """

    metric: str
    value: float
    stderr: float | None
    is_bound: bool = False

    @property
    def name(self) -> str:
        """The metric without its filter."""
        return self.metric.partition(",")[0]

    @property
    def kind(self) -> Kind:
        """What is known of the metric."""
        return KINDS[self.name]

    def __str__(self) -> str:
        """`<= 23.41 ± 0.35`, the sign for a bound."""
        bound = ("<= " if self.kind.lower_is_better else ">= ") if self.is_bound else ""
        size = abs(self.value)
        form = ".4g" if size >= 1e5 else ".2f" if size >= 10 else ".4f"
        return f"{bound}{self.value:{form}}" + ("" if self.stderr is None else f" ± {self.stderr:{form}}")


def is_value(metric: str | None) -> bool:
    """Whether a metric ("metric,filter") is no share."""
    return metric is not None and metric.partition(",")[0] in KINDS


def values_of(scores: Mapping[str, Any], metrics: Iterable[str | None], what: str) -> tuple[Value, ...]:
    """Those of a task's metrics that are no shares.

    Args:
        scores: of the task in a results file.
        metrics: that are shown.
        what: the result says of its log-likelihoods; empty where there are none.

    Raises:
        ValueError: one is not a number.
    """
    found = []
    for metric in filter(is_value, metrics):
        assert metric is not None
        value, stderr = scores[metric], number(scores.get(metric.replace(",", "_stderr,", 1)))
        if math.isnan(value):
            raise ValueError(f"{metric} is nan, which is no value")
        is_bound = KINDS[metric.partition(",")[0]].of_likelihoods and what.startswith(LOWER_BOUND)
        found.append(Value(metric, float(value), stderr, is_bound))
    return tuple(found)
