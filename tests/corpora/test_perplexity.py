"""Perplexity over documents of several tokens each."""

import math

import pytest

from lm_eval_codd.corpora.perplexity import perplexity, perplexity_stderr


def test_of_all_tokens_together():
    assert perplexity([(-math.log(8), 3), (-math.log(4), 2)]) == pytest.approx(2)
    assert perplexity_stderr([(-math.log(8), 3), (-math.log(4), 2)]) == pytest.approx(0)
    assert math.isnan(perplexity([])) and math.isnan(perplexity_stderr([(-1.0, 1)]))


def test_what_no_float_holds_is_infinite():
    """A model that rules a token out, as MDLM does the mask: -1e6 nats."""
    ruled_out = [(-1e6, 3), (-3.0, 3)]
    assert perplexity(ruled_out) == perplexity_stderr(ruled_out) == math.inf
