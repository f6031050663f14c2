"""Accuracy as the unweighted mean over the subjects of a benchmark, with its standard error; for lm-eval's tasks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from lm_eval_codd.benchmarks import HAS_OUTPUT_TYPES
from lm_eval_codd.grading import UNREADABLE

__all__ = ["mean_by_subject", "scores_of_subject", "stderr_by_subject"]

Items = Sequence[tuple[str, float]]


def scores_of_subject(subject: str, is_right: bool, *, is_read: bool) -> dict[str, Any]:
    """lm-eval metrics of one document: `accuracy`, `unreadable`, and the mean over subjects with its standard error."""
    of_subject = (subject, float(is_right))
    scores = {"accuracy": float(is_right), UNREADABLE: float(not is_read), "accuracy_by_subject": of_subject}
    # lm-eval 0.4 has a standard error for its own metrics alone; 0.5 resamples the documents for any.
    return scores if HAS_OUTPUT_TYPES else {**scores, "accuracy_by_subject_stderr": of_subject}


def mean_by_subject(items: Items) -> float:
    """The mean of the subjects' means.

    Args:
        items: subject and score of each document.
    """
    subjects = _scores(items)
    return math.fsum(math.fsum(scores) / len(scores) for scores in subjects) / len(subjects)


def stderr_by_subject(items: Items) -> float:
    """Its standard error over documents, drawn within each subject; nan where a subject has a single one.

    Args:
        items: as for `mean_by_subject`.
    """
    subjects = _scores(items)
    if min(map(len, subjects)) < 2:
        return math.nan
    return math.sqrt(math.fsum(_variance_of_mean(scores) for scores in subjects)) / len(subjects)


def _variance_of_mean(scores: Sequence[float]) -> float:
    mean = math.fsum(scores) / len(scores)
    return math.fsum((score - mean) ** 2 for score in scores) / (len(scores) - 1) / len(scores)


def _scores(items: Items) -> list[list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for subject, score in items:
        found[subject].append(score)
    return list(found.values())
