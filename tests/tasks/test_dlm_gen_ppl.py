"""Samples judged by another model: the official figures, both protocols, and what cannot be judged."""

import json
import math

import numpy as np
import pytest
from lm_eval import evaluate
from lm_eval.api.model import LM, CachingLM
from lm_eval.models.dummy import DummyLM
from lm_eval.tasks import TaskManager

from lm_eval_codd.carried import TokenText

TASK = "dlm_gen_ppl"


class Drawing(LM):
    """A model whose sample of each number is known."""

    def __init__(self, samples, num_forward=3):
        super().__init__()
        self.samples, self.num_forward, self.asked = samples, num_forward, []

    def generate_until(self, requests):
        self.asked += [request.args for request in requests]
        numbers = [request.doc["sample"] for request in requests]
        return [TokenText("not read", self.samples[number], self.num_forward) for number in numbers]

    def loglikelihood(self, requests):
        raise NotImplementedError

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError


@pytest.fixture
def scorer(golden_dir):
    return str(golden_dir / "dit" / "tiny-gpt2")


@pytest.fixture
def load(tasks_dir, scorer):
    """(arguments) -> the task, with the golden scorer, which is its own tokenizer, unless they are None."""

    def get(**given):
        given = {"tokenizer": scorer, "scorer": scorer, "samples": 5} | given
        metadata = {key: value for key, value in given.items() if value is not None}
        manager = TaskManager(include_defaults=False, include_path=str(tasks_dir), metadata=metadata)
        return manager.load([TASK])

    return get


@pytest.fixture
def official(golden_dir):
    with np.load(golden_dir / "dit" / "metrics.npz") as arrays:
        return {name: arrays[name] for name in arrays}


def scores_of(model, loaded):
    return evaluate(lm=model, task_dict=loaded, bootstrap_iters=10)["results"][TASK]


def test_all_five_samples_have_the_official_figures(load, official):
    model = Drawing(official["ids"].tolist())
    scores = scores_of(model, load())
    assert scores["gen_ppl,none"] == pytest.approx(float(official["gen_ppl_5rows_batch1"]), rel=1e-5)
    assert scores["entropy,none"] == pytest.approx(official["entropy_each"].mean(), abs=1e-6)
    assert scores["entropy_bits,none"] == pytest.approx(official["entropy_each"].mean() / math.log(2), abs=1e-6)
    assert scores["entropy_stderr,none"] == pytest.approx(official["entropy_each"].std(ddof=1) / math.sqrt(5), abs=1e-6)
    assert (scores["nfe,none"], scores["unscored,none"]) == (3, 0)
    assert 0 < scores["gen_ppl_stderr,none"] < scores["gen_ppl,none"]
    assert [args[0] for args in model.asked] == [""] * 5
    assert model.asked[0][1] == {"until": [], "do_sample": True}


def test_the_result_says_how_samples_were_judged(load, scorer):
    (task,) = load(protocol="coupling")["tasks"].values()
    judge = task.config.metadata["judge"]
    assert (judge["protocol"], judge["scorer"], judge["max_length"]) == ("coupling", scorer, 1024)
    assert judge["scorer_identity"] and task.config.metadata["samples"] == len(task.eval_docs) == 5


class TestCoupling:
    def test_padding_is_in_no_text_and_both_entropies_are_there(self, load, word_tokenizer):
        samples = [[1, 2, 1, 3, 30, 30, 30, 30], [4, 5, 6, 7, 8, 9, 10, 30]]  # 30: [PAD]
        padded = scores_of(Drawing(samples), load(protocol="coupling", tokenizer=str(word_tokenizer), samples=2))
        bare = [[one for one in row if one != 30] for row in samples]
        plain = scores_of(Drawing(bare), load(protocol="coupling", tokenizer=str(word_tokenizer), samples=2))
        assert padded["gen_ppl,none"] == pytest.approx(plain["gen_ppl,none"])
        in_bits = [1.75, 1.5, 3.0, math.log2(7)]
        assert padded["entropy_bits,none"] == pytest.approx((in_bits[0] + in_bits[2]) / 2)
        assert padded["entropy_bits_without_pad,none"] == pytest.approx((in_bits[1] + in_bits[3]) / 2)
        assert padded["entropy_without_pad,none"] == pytest.approx(plain["entropy,none"])

    def test_a_sample_of_padding_alone_is_left_out_and_counted(self, load, word_tokenizer):
        arguments = {"protocol": "coupling", "tokenizer": str(word_tokenizer)}
        one = scores_of(Drawing([[1, 2, 3]]), load(**arguments, samples=1))
        both = scores_of(Drawing([[1, 2, 3], [30, 30, 30]]), load(**arguments, samples=2))
        assert both["gen_ppl,none"] == pytest.approx(one["gen_ppl,none"])
        assert (one["unscored,none"], both["unscored,none"]) == (0, 0.5)
        assert both["entropy_without_pad,none"] == pytest.approx(one["entropy_without_pad,none"] / 2)


def test_duo_keeps_special_tokens_and_scores_a_rows_first_end(load, word_tokenizer):
    with_ends = scores_of(Drawing([[29, 1, 2, 29, 3]]), load(tokenizer=str(word_tokenizer), samples=1))
    without = scores_of(Drawing([[1, 2, 3]]), load(tokenizer=str(word_tokenizer), samples=1))
    assert with_ends["gen_ppl,none"] != pytest.approx(without["gen_ppl,none"])
    assert "entropy_without_pad,none" not in with_ends


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"samples": 0}, "`samples=0` must be a whole number of at least 1"),
        ({"protocol": "duoo"}, "`protocol=duoo` must be duo or coupling"),
        ({"tokenizer": None}, "no tokenizer is named"),
        ({"scorer": "nowhere at all"}, "scorer `nowhere at all` does not exist; give a folder"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_is_drawn(load, given, said):
    with pytest.raises((RuntimeError, ValueError)) as caught:
        load(**given)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_another_models_answers_and_ids_are_refused(load):
    class Texts(Drawing):
        def generate_until(self, requests):
            return ["w1 w2" for _ in requests]

    with pytest.raises(ValueError, match="without its token ids"):
        scores_of(Texts([]), load())
    with pytest.raises(ValueError, match="token 77 of a sample is none of the 32"):
        scores_of(Drawing([[1, 77]] * 5), load())


@pytest.mark.parametrize("kind", ["of this package", "of lm-eval", "behind a store of answers"])
def test_a_model_of_text_is_refused_before_it_is_asked(load, kind, monkeypatch, tmp_path):
    class Text(Drawing):
        has_token_ids = False

    model = {"of this package": Text([]), "of lm-eval": DummyLM(), "behind a store of answers": DummyLM()}[kind]
    name = type(model).__name__
    monkeypatch.setattr(type(model), "generate_until", lambda self, requests: pytest.fail("it was asked"))
    if kind == "behind a store of answers":
        model = CachingLM(model, str(tmp_path / "answers.db"))
    said = (
        rf"^dlm_gen_ppl: it measures token ids, .* \({name}\) reads and writes text; evaluate one of duo, .*, coupling$"
    )
    with pytest.raises(ValueError, match=said):
        scores_of(model, load())


def test_samples_can_be_logged(load, official):
    results = evaluate(lm=Drawing(official["ids"].tolist()), task_dict=load(), bootstrap_iters=0, log_samples=True)
    assert len(results["samples"][TASK]) == 5 and json.dumps(results["samples"][TASK], default=str)
