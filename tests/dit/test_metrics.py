"""Generative perplexity and entropy against the official code's figures."""

import json
import shutil

import pytest
import torch

import lm_eval_codd as codd


@pytest.fixture
def scorer(golden_dir):
    return golden_dir / "dit" / "tiny-gpt2"


@pytest.fixture
def texts(golden_dir):
    return json.loads((golden_dir / "dit" / "metrics_texts.json").read_text())


def test_entropy_in_nats(golden):
    data = golden("metrics")
    ours = [codd.unigram_entropy(row) for row in data["ids"]]
    assert ours == pytest.approx(data["entropy_each"].tolist(), abs=1e-6)
    assert str(codd.unigram_entropy([3, 3, 3])) == "0.0"
    assert codd.unigram_entropy(torch.arange(8)) == pytest.approx(torch.tensor(8.0).log().item())


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_all_samples_count_whatever_the_batch(golden, texts, scorer, batch_size):
    data = golden("metrics")
    ours = codd.generative_perplexity(texts, scorer, batch_size=batch_size)
    assert ours == pytest.approx(float(data["gen_ppl_5rows_batch1"]), rel=1e-5)
    assert ours != pytest.approx(float(data["gen_ppl_5rows_batch2"]), rel=1e-2)  # which drops the fifth
    first = codd.generative_perplexity(texts[:4], scorer, batch_size=batch_size)
    assert first == pytest.approx(float(data["gen_ppl_first4"]), rel=1e-5)


def test_padding_is_not_scored(texts, scorer):
    short = " ".join(texts[1].split()[:5])
    alone = [codd.generative_perplexity([text], scorer) for text in (texts[0], short)]
    sizes = [len(text.split()) - 1 for text in (texts[0], short)]
    both = codd.generative_perplexity([texts[0], short], scorer, batch_size=2)
    nats = sum(size * torch.tensor(each).log().item() for size, each in zip(sizes, alone, strict=True))
    assert torch.tensor(both).log().item() == pytest.approx(nats / sum(sizes), rel=1e-5)


def test_coupling_scores_every_end_token_and_duo_only_a_rows_first(texts, scorer):
    ended = f"{texts[0]} <|endoftext|> <|endoftext|>"
    assert codd.generative_perplexity([ended], scorer, "coupling") != codd.generative_perplexity([ended], scorer)


def test_what_is_longer_is_cut(texts, scorer):
    words = texts[0].split()
    cut = codd.generative_perplexity([texts[0]], scorer, max_length=6)
    assert cut == pytest.approx(codd.generative_perplexity([" ".join(words[:6])], scorer), rel=1e-6)


@pytest.mark.parametrize("protocol", ["duo", "coupling"])
def test_what_is_longer_than_the_scorer_takes_is_cut(texts, scorer, protocol):
    words = (" ".join(texts) * 3).split()
    assert len(words) > 64
    cut = codd.generative_perplexity([" ".join(words)], scorer, protocol)
    assert cut == pytest.approx(codd.generative_perplexity([" ".join(words[:64])], scorer, protocol), rel=1e-6)


def test_mistakes_are_one_line(texts, scorer, tmp_path):
    for arguments, said in (
        ((texts, scorer, "duoo"), "`protocol=duoo` is not known"),
        ((["w1"], scorer), "nothing to score"),
        ((texts, scorer, "duo", 8, 0), "`batch_size=0` must be at least 1"),
        ((texts, tmp_path), "scorer"),
        ((texts, tmp_path / "nowhere" / "at" / "all"), "does not exist"),
    ):
        with pytest.raises(ValueError) as caught:
            codd.generative_perplexity(*arguments)
        assert said in str(caught.value) and "\n" not in str(caught.value)


def test_files_of_a_scorers_tokenizer_are_those_of_its_folder(texts, scorer, tmp_path):
    folder = shutil.copytree(scorer, tmp_path / "scorer")
    path = folder / "tokenizer_config.json"
    elsewhere = dict.fromkeys(("tokenizer_file", "vocab_file", "merges_file"), "/etc/passwd")
    path.write_text(json.dumps(json.loads(path.read_text()) | elsewhere))
    assert codd.generative_perplexity(texts, folder) == codd.generative_perplexity(texts, scorer)


def test_no_code_of_a_scorer_is_run_even_where_the_user_would_say_yes(texts, scorer, tmp_path, monkeypatch):
    folder = shutil.copytree(scorer, tmp_path / "scorer")
    facts = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(facts))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.setattr("builtins.input", lambda _: "y")
    with pytest.raises(ValueError, match="scorer"):
        codd.generative_perplexity(texts, folder)
    assert not (tmp_path / "ran").exists()
