"""What users import says what it takes, gives and raises."""

import inspect

import pytest

import lm_eval_codd as codd
from lm_eval_codd.backbones.backbone import Backbone
from lm_eval_codd.circuits.hmm import HMM

FUNCTIONS = [name for name in codd.__all__ if inspect.isfunction(getattr(codd, name))]
METHODS = [Backbone.logits, HMM.evaluate]
QUERIES = ("log_partition", "latent_posterior", "token_marginals", "sample_latents", "couple")


def says_all(thing) -> None:
    said = inspect.getdoc(thing) or ""
    assert [name for name in inspect.signature(thing).parameters if name != "self" and name not in said] == []


class TestDocstrings:
    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_of_functions_name_every_argument(self, name):
        says_all(getattr(codd, name))

    @pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__qualname__)
    def test_of_what_is_loaded_name_every_argument(self, method):
        says_all(method)

    @pytest.mark.parametrize("query", QUERIES)
    def test_of_a_circuits_queries_say_shapes_of_what_goes_in_and_comes_out(self, query):
        said = inspect.getdoc(getattr(HMM, query))
        assert said.startswith("[B")
        assert said.count("[B") >= 2

    @pytest.mark.parametrize("name", [*FUNCTIONS, "DecodingConfig", "LikelihoodConfig"])
    def test_name_what_is_raised_where_something_is(self, name):
        thing = getattr(codd, name)
        source = inspect.getsource(thing)
        assert "raise " not in source or "raise" in inspect.getdoc(thing).lower()
