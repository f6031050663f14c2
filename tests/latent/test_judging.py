"""How samples are judged: the authors' entropies and perplexities."""

import json
import math

import pytest

import lm_eval_codd as codd


@pytest.fixture(scope="module")
def official(golden_dir):
    return json.loads((golden_dir / "latent" / "coupling.json").read_text())


@pytest.fixture(scope="module")
def perplexity(golden_dir):
    scorer = golden_dir / "latent" / "tiny_gpt2"
    return lambda texts, size=8: codd.generative_perplexity(texts, scorer, protocol="coupling", batch_size=size)


def test_entropy_in_bits_with_padding(golden, official):
    bits = [codd.unigram_entropy(row) / math.log(2) for row in golden["metrics.tokens"]]
    assert bits == pytest.approx(official["entropy_bits_per_row"], abs=1e-12)


def test_perplexity_whatever_the_batch(official, perplexity):
    for case in official["gen_ppl"]:
        for size in (1, case["batch_size"]):
            assert perplexity(case["texts"], size) == pytest.approx(case["ppl"], rel=1e-6)


def test_texts_of_one_token_and_of_none(official, perplexity):
    assert perplexity(["a"]) == official["gen_ppl_edge"]["single_token_text"] == 1.0
    with pytest.raises(ValueError, match="nothing to score"):
        perplexity([""])  # which ends the authors' code
    assert perplexity(["a cat", "", "b"]) == pytest.approx(perplexity(["a cat"]))
