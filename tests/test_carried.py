"""What goes through lm-eval as a string or a number, and carries more."""

import copy
import json
import pickle

import pytest

from lm_eval_codd.carried import Nats, TokenText


@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
class TestCopies:
    def test_of_a_text_have_its_ids(self, through):
        one = through(TokenText("a b", [3, 5], 7))
        assert (one, one.ids, one.num_forward) == ("a b", (3, 5), 7)
        assert type(one) is TokenText

    def test_of_a_number_have_what_it_is_of(self, through):
        one = through(Nats(-1.5, 12, 0.25, 8))
        assert (one, one.num_tokens, one.stderr, one.num_forward) == (-1.5, 12, 0.25, 8)
        assert type(one) is Nats


def test_to_json_they_are_plain():
    assert json.dumps([TokenText("a", [3]), Nats(-1.5, 12)]) == '["a", -1.5]'
