"""Log-likelihoods against those of LLaDA's and Dream's own code on tiny checkpoints."""

import json
from pathlib import Path

import pytest

import lm_eval_codd as codd

GOLDEN = Path(__file__).parents[1] / "golden" / "decoding" / "loglik"
LLADA = json.loads((GOLDEN / "loglik.json").read_text())["cases"]
DREAM = json.loads((GOLDEN / "dream_loglik.json").read_text())["cases"]
ENUMERATED = [case for case in LLADA if "exact_uniform_l" in case]


def one(load, case, **settings):
    config = codd.LikelihoodConfig(cfg_scale=case["kwargs"].get("cfg_scale", 0.0), **settings)
    (likelihood,) = codd.log_likelihood(load(case["model"]), [(case["prompt"], case["answer"])], config)
    return likelihood


def by_id(case):
    return case["id"].partition("/")[2]


@pytest.mark.parametrize("case", ENUMERATED, ids=by_id)
class TestMonteCarlo:
    def test_exact_is_the_expectation_for_uniform_numbers_of_masks(self, load, case):
        exact = one(load, case, estimator="exact")
        assert exact.value == pytest.approx(case["exact_uniform_l"], abs=1e-3)
        assert exact.stderr == 0 and exact.num_forward == 2 ** len(case["answer"]) - 1

    @pytest.mark.parametrize("ladder", ["official", "unbiased"])
    def test_a_ladder_has_its_own_expectation(self, load, case, ladder):
        expected = case["exact_official_l" if ladder == "official" else "exact_uniform_l"]
        size = case["kwargs"]["batch_size"]
        likelihood = one(load, case, ladder=ladder, num_samples=256 * size, ladder_size=size)
        assert likelihood.value == pytest.approx(expected, abs=4 * likelihood.stderr + 1e-3)
        assert likelihood.stderr < 0.02 * abs(expected)


@pytest.mark.parametrize("case", LLADA, ids=by_id)
class TestGreedy:
    def test_it_is_whether_decoding_writes_the_answer(self, load, case):
        assert one(load, case, num_samples=1, is_greedy=True).is_greedy is case["suffix_greedy"]
        greedy = {**case, "answer": case["greedy_answer"]}
        assert one(load, greedy, num_samples=1, is_greedy=True).is_greedy is case["suffix_greedy_on_greedy_answer"]

    def test_nobody_pays_for_what_nobody_asked(self, load, case):
        likelihood = one(load, case, num_samples=1)
        assert likelihood.is_greedy is None and likelihood.num_forward == 1 and likelihood.stderr is None


class TestDream:
    @pytest.mark.parametrize("case", DREAM[:2], ids=by_id)
    def test_bernoulli_masks_have_the_official_mean(self, load, case):
        likelihood = one(load, case, estimator="mc_bernoulli", num_samples=8192, ladder_size=32)
        error = (likelihood.stderr**2 + case["sem_20x512_b32"] ** 2) ** 0.5
        assert likelihood.value == pytest.approx(case["mean_20x512_b32"], abs=3 * error)

    def test_the_chain_is_the_official_value(self, load):
        chain = one(load, DREAM[2], estimator="chain")
        assert chain.value == pytest.approx(DREAM[2]["value"], abs=DREAM[2]["atol_same_seed"])
        assert chain.stderr == 0 and chain.num_forward == len(DREAM[2]["answer"])
