"""Perplexities of corpora in windows: rows in their published schemas, the result's words on them, the arithmetic."""

import json
import math

import numpy as np
import pytest
from lm_eval import evaluate
from lm_eval.api.model import LM
from lm_eval.models.dummy import DummyLM
from lm_eval.tasks import TaskManager

from lm_eval_codd.benchmarks import HAS_OUTPUT_TYPES
from lm_eval_codd.carried import Nats, TokenText

LENGTH = 12
# name -> file below the data folder, a row as the data set has it, whether an end goes behind each text.
CORPORA = {
    "owt": ("owt/validation", {"text": "{}"}, True),
    "lm1b": ("lm1b/test", {"text": "{}"}, False),
    "ptb": ("ptb/validation", {"sentence": "{}"}, False),
    "wikitext2": ("wikitext2/validation", {"text": " {} \n"}, False),
    "wikitext103": ("wikitext103/validation", {"text": " {} \n"}, False),
    "lambada": ("lambada/test", {"text": "{}"}, False),
    "ag_news": ("ag_news/test", {"text": "{}", "label": 2}, False),
    "pubmed": ("pubmed/validation", {"article": "{}", "abstract": "w1", "section_names": "w2"}, False),
    "arxiv": ("arxiv/validation", {"article": "{}", "abstract": "w1", "section_names": "w2"}, False),
}
TEXTS = [" ".join(f"w{(7 * number + place * place) % 29}" for place in range(number % 9)) for number in range(30)]
WORDS = sum(len(text.split()) for text in TEXTS)


class Counting(LM):
    """A model that finds a window as likely as its first ids say, and remembers what it was asked."""

    def __init__(self, answer=lambda ids: Nats(-0.1 * sum(ids) - 1, len(ids))):
        super().__init__()
        self.answer, self.asked = answer, []

    def loglikelihood_rolling(self, requests):
        texts = [request.args[-1] for request in requests]
        self.asked += texts
        return [self.answer(text.ids) for text in texts]

    def loglikelihood(self, requests):
        raise NotImplementedError

    def generate_until(self, requests):
        raise NotImplementedError


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    for path, row, _ in CORPORA.values():
        file = tmp_path / f"{path}.jsonl"
        file.parent.mkdir(exist_ok=True)
        lines = [{key: str(value).format(text) for key, value in row.items()} for text in TEXTS]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setenv("CODD_DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def load(tasks_dir, word_tokenizer, data_dir):
    """(corpus, arguments) -> its task, with a tokenizer and a length unless they are None."""

    def get(name, **given):
        given = {"tokenizer": str(word_tokenizer), "length": LENGTH} | given
        metadata = {key: value for key, value in given.items() if value is not None}
        manager = TaskManager(include_defaults=False, include_path=str(tasks_dir), metadata=metadata)
        return manager.load([f"dlm_ppl_{name}"])

    return get


def only(loaded):
    (task,) = loaded["tasks"].values()
    return task


@pytest.mark.parametrize("name", CORPORA)
def test_every_corpus_in_its_schema(load, name):
    task = only(load(name))
    packing, inserts = task.config.metadata["packing"], CORPORA[name][2]
    tokens = WORDS + len(TEXTS) * inserts
    assert (packing["tokens"], packing["insert_eos"]) == (tokens, inserts)
    assert packing["windows"] == len(task.eval_docs) == tokens // (LENGTH - 2)
    assert packing["dropped_tokens"] == tokens % (LENGTH - 2)
    assert all(len(doc["ids"]) == LENGTH and doc["ids"][0] == doc["ids"][-1] == 29 for doc in task.eval_docs)
    data = task.config.metadata["data"]
    assert data["rows"] == len(TEXTS) and not data["is_published_set"] and data["expected_rows"] > 3000
    text = task.doc_to_target(task.eval_docs[0])
    assert isinstance(text, TokenText) and list(text.ids) == task.eval_docs[0]["ids"]
    assert text == task._tokenizer.decode(text.ids)


def test_a_result_has_perplexity_bits_error_and_what_the_windows_are(load):
    loaded, model = load("ptb"), Counting()
    results = evaluate(lm=model, task_dict=loaded, bootstrap_iters=10)
    scores, docs = results["results"]["dlm_ppl_ptb"], only(loaded).eval_docs["ids"]
    assert [list(text.ids) for text in model.asked] == list(docs)
    nats = np.array([0.1 * sum(ids) + 1 for ids in docs])
    per_token = nats.mean() / LENGTH
    assert scores["token_perplexity,none"] == pytest.approx(math.exp(per_token))
    assert scores["bits_per_token,none"] == pytest.approx(per_token / math.log(2))
    of_mean = nats.std(ddof=1) / math.sqrt(len(nats)) / LENGTH
    assert scores["bits_per_token_stderr,none"] == pytest.approx(of_mean / math.log(2))
    resampled = 0.5 if HAS_OUTPUT_TYPES else 1e-6  # lm-eval 0.5 draws documents ten times, as asked above
    assert scores["token_perplexity_stderr,none"] == pytest.approx(math.exp(per_token) * of_mean, rel=resampled)
    packing = results["configs"]["dlm_ppl_ptb"]["metadata"]["packing"]
    assert (packing["windows"], packing["group"], packing["bos"]) == (len(docs), 1000, 29)
    assert packing["detokeniser"] == "ptb, version 1"


def test_tokens_are_those_that_the_model_scored(load):
    model = Counting(lambda ids: Nats(-2.0 * (len(ids) - 1), len(ids) - 1))  # as an autoregressive one: but the first
    scores = evaluate(lm=model, task_dict=load("ptb"), bootstrap_iters=0)["results"]["dlm_ppl_ptb"]
    assert scores["token_perplexity,none"] == pytest.approx(math.exp(2))


def test_a_model_that_scores_the_text_is_refused(load):
    with pytest.raises(ValueError, match=r"scored a text and not the 12 token ids"):
        evaluate(lm=Counting(lambda ids: -3.0), task_dict=load("ptb"), bootstrap_iters=0)


def test_a_model_of_text_is_refused_before_it_is_asked(load, monkeypatch):
    monkeypatch.setattr(DummyLM, "loglikelihood_rolling", lambda self, requests: pytest.fail("it was asked"))
    said = r"^dlm_ppl_ptb: it measures token ids, .* \(DummyLM\) reads and writes text; evaluate one of duo, .*, dlm$"
    with pytest.raises(ValueError, match=said):
        evaluate(lm=DummyLM(), task_dict=load("ptb"), bootstrap_iters=0)


class TestArguments:
    def test_a_file_takes_the_place_of_the_published_rows(self, load, data_dir):
        file = data_dir / "mine.jsonl"
        file.write_text("".join(json.dumps({"sentence": text}) + "\n" for text in TEXTS[:20]))
        plain = data_dir / "mine.txt"
        plain.write_text("".join(f"{text}\n" for text in TEXTS[:20]))
        given, written = (only(load("ptb", data=str(path))).config.metadata for path in (file, plain))
        assert given["data"]["source"] == str(file) and given["data"]["rows"] == 20
        assert given["packing"] == written["packing"]

    def test_group_and_end_of_text(self, load):
        usual, all_in_one = (only(load("ptb", group=group)).config.metadata["packing"] for group in (7, "all"))
        assert usual["windows"] < all_in_one["windows"] and usual["dropped_tokens"] > all_in_one["dropped_tokens"]
        assert only(load("ptb", insert_eos=True)).config.metadata["packing"]["tokens"] == WORDS + len(TEXTS)

    def test_the_length_is_the_checkpoints_where_none_is_given(self, load, golden_dir):
        folder = golden_dir / "dit" / "hf-mdlm-tiny"
        packing = only(load("ptb", length=None, pretrained=str(folder))).config.metadata["packing"]
        assert packing["length"] == json.loads((folder / "config.json").read_text())["model_length"]

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"tokenizer": None}, "no tokenizer is named; name the model's with --model_args ...,tokenizer=gpt2"),
            ({"tokenizer": None, "pretrained": "."}, "`.` has no tokenizer that can be read; name the model's with"),
            ({"tokenizer": "nowhere at all"}, "tokenizer `nowhere at all` does not exist"),
            ({"length": None}, "fill no window of 1024"),
            ({"length": 2}, "`length=2` must be a whole number of at least 3"),
            ({"group": "none"}, "`group=none` must be a whole number of at least 1"),
            ({"insert_eos": "yes"}, "`insert_eos=yes` must be true or false"),
            ({"workers": 0}, "`workers=0` must be"),
            ({"data": "nowhere.jsonl"}, "`data=nowhere.jsonl` must be a file"),
            ({"data": "latin.txt"}, "latin.txt is no text in UTF-8"),
        ],
    )
    def test_what_cannot_be_is_one_line(self, load, data_dir, monkeypatch, given, said):
        monkeypatch.chdir(data_dir)
        (data_dir / "latin.txt").write_bytes(b"caf\xe9\n")
        with pytest.raises((RuntimeError, ValueError)) as caught:
            load("ptb", **given)
        assert said in str(caught.value) and "\n" not in str(caught.value)
        assert str(caught.value).startswith("dlm_ppl_ptb: ")
