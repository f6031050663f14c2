"""The mean over subjects and its standard error, against enumeration."""

import itertools
import math

import pytest

from lm_eval_codd.subjects import mean_by_subject, stderr_by_subject

ITEMS = [("a", 1.0), ("a", 0.0), ("a", 1.0), ("b", 0.0), ("b", 1.0)]


def test_every_subject_counts_once():
    assert mean_by_subject(ITEMS) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_the_error_is_that_of_draws_within_each_subject():
    """Of all resamples of each subject, up to the factor n / (n - 1) of an unbiased variance."""
    of_subject = {"a": [1.0, 0.0, 1.0], "b": [0.0, 1.0]}
    variance = 0.0
    for scores in of_subject.values():
        means = [sum(draw) / len(scores) for draw in itertools.product(scores, repeat=len(scores))]
        mean = sum(means) / len(means)
        biased = sum((one - mean) ** 2 for one in means) / len(means)
        variance += biased * len(scores) / (len(scores) - 1)
    assert stderr_by_subject(ITEMS) == pytest.approx(math.sqrt(variance) / 2)


def test_a_subject_of_one_document_has_no_error():
    assert math.isnan(stderr_by_subject([*ITEMS, ("c", 1.0)]))
