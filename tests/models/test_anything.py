"""Whatever model arguments and journals hold: a meaning, or one line."""

import dataclasses
import json
import logging

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lm_eval_codd.decoding import Generation
from lm_eval_codd.likelihood import Likelihood
from lm_eval_codd.models.arguments import from_harness, json_object, true_or_false, whole_number
from lm_eval_codd.models.diffusion_lm import DiffusionLM
from lm_eval_codd.models.journal import Journal, Kept, _seal
from lm_eval_codd.models.llada import LLaDA
from lm_eval_codd.settings import DecodingConfig, LikelihoodConfig
from tests.anything import SCALARS, VALUES, WORDS, changed, outcome

assert issubclass(LLaDA, DiffusionLM)
CONFIGS = (DecodingConfig, LikelihoodConfig)
FIELDS = st.sampled_from([field.name for config in CONFIGS for field in dataclasses.fields(config)])
KEY = "0123456789abcdef0123456789abcdef"
IDS = st.integers(0, 200_000)
GENERATIONS = st.builds(
    Generation,
    st.lists(IDS, max_size=9),
    num_answer_tokens=IDS,
    num_forward=IDS,
    num_circuit=IDS,
    num_planner=IDS,
    rounds=st.none() | st.lists(st.lists(IDS, max_size=3), max_size=2),
)
LIKELIHOODS = st.builds(
    Likelihood,
    st.floats(allow_nan=False),
    st.none() | st.floats(0, 9),
    num_forward=IDS,
    is_greedy=st.none() | st.booleans(),
)


@pytest.fixture(autouse=True, scope="module")
def quiet():
    """Nothing is logged of the thousands of odd values."""
    logger = logging.getLogger("lm_eval.codd")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


class TestArguments:
    @given(st.dictionaries(FIELDS, SCALARS, max_size=4))
    def test_any_settings(self, given):
        for config in CONFIGS:
            known = {field.name for field in dataclasses.fields(config)}
            outcome(config, **{name: value for name, value in given.items() if name in known})

    @given(st.dictionaries(st.one_of(FIELDS, WORDS), SCALARS, max_size=4), st.dictionaries(WORDS, SCALARS, max_size=2))
    def test_any_names(self, model_args, additional):
        known = [field.name for field in dataclasses.fields(DecodingConfig)] + ["pretrained", "device", "batch_size"]
        outcome(from_harness, known, model_args, additional)

    @example(float("inf"))
    @example("[" * 100_000)
    @given(VALUES)
    def test_any_value(self, value):
        for read in (json_object, true_or_false, whole_number):
            outcome(read, "name", value)


class TestJournals:
    @given(GENERATIONS, st.floats(0, 9))
    def test_an_answer_is_found_as_it_was_added(self, tmp_path_factory, generation, seconds):
        folder = tmp_path_factory.mktemp("journal")
        journal = Journal(folder)
        journal.start({"here": 1})
        journal.add([(KEY, Kept(generation, seconds))])
        journal.close()
        again = Journal(folder)
        again.start({"here": 1})
        found = again.find(KEY, Generation)
        assert found.result == generation
        assert found.made_elsewhere is False
        assert again.find(KEY[::-1], Generation) is None

    @given(LIKELIHOODS)
    def test_a_likelihood_too(self, tmp_path_factory, likelihood):
        folder = tmp_path_factory.mktemp("journal")
        journal = Journal(folder)
        journal.start({})
        journal.add([(KEY, Kept(likelihood, 1.0))])
        journal.close()
        again = Journal(folder)
        again.start({})
        assert again.find(KEY, Likelihood).result == likelihood

    @given(st.data())
    def test_any_line_with_a_seal_is_an_answer_or_is_made_again(self, tmp_path_factory, data):
        folder = tmp_path_factory.mktemp("journal")
        whole = {"key": KEY, "tokens": [1, 2], "num_answer_tokens": 2, "num_forward": 2, "seconds": 0.5, "length": 2}
        record = {"key": KEY, **data.draw(changed(whole))}
        begins = data.draw(st.sampled_from([{"surroundings": {}}, {"surroundings": [1]}, record]))
        lines = [_seal(begins), _seal(record), data.draw(st.binary(max_size=30))]
        (folder / "answers-a.jsonl").write_bytes(b"\n".join(lines))
        journal = Journal(folder)
        journal.start({})
        answer, scored = journal.find(KEY, Generation), journal.find(KEY, Likelihood)
        assert answer is None or isinstance(answer.result.tokens, list)
        assert scored is None or isinstance(scored.result.value, int | float)

    def test_a_length_that_nobody_decoded_takes_no_memory(self, tmp_path):
        record = {"key": KEY, "tokens": [1], "num_answer_tokens": 1, "num_forward": 1, "seconds": 0, "length": 1 << 40}
        (tmp_path / "answers-a.jsonl").write_bytes(_seal(record))
        journal = Journal(tmp_path)
        journal.start({})
        assert journal.find(KEY, Generation) is None

    @given(st.lists(st.binary(max_size=80), max_size=4))
    def test_any_bytes(self, tmp_path_factory, lines):
        folder = tmp_path_factory.mktemp("journal")
        (folder / "answers-a.jsonl").write_bytes(b"\n".join(lines))
        journal = Journal(folder)
        journal.start(json.loads("{}"))
        assert journal.find(KEY, Generation) is None
