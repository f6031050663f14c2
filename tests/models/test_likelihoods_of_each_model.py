"""Every model name on lm-eval's own likelihood tasks: the values of the Python API, whatever the batches and ranks."""

import itertools
import json
import math
from types import SimpleNamespace

import pytest
import torch
from lm_eval.api.registry import get_model

import lm_eval_codd as codd
from lm_eval_codd.circuits.files import save_circuit
from lm_eval_codd.models.llada import LLaDA
from lm_eval_codd.models.pairs import pair_of, windows_of
from tests.conftest import random_circuit
from tests.forked import PATIENCE
from tests.models import stock_tasks, tiny_qwen
from tests.models.processes import score_stock_tasks, start_ranks
from tests.models.stock_tasks import same, values

SETTINGS = {"gen_length": 16, "block_length": 16, "num_steps": 4, "num_samples": 8, "device": "cpu"}
CIRCUIT = {"pc_frac": 1.1}
# Model and checkpoint of each: every name, and every family.
EACH = {
    "llada": "llada",
    "dream": "dream",
    "codd_llada": "llada",
    "masked_lm": "a2d-qwen3",
    "codd_masked_lm": "qwen2",
}


@pytest.fixture(scope="module")
def arguments(checkpoints, tmp_path_factory):
    """`arguments(name)`: checkpoint and settings of a model of `EACH`, with a circuit where it needs one."""
    folder = tmp_path_factory.mktemp("likelihoods")
    folders = {
        **checkpoints,
        **{kind: tiny_qwen.write_checkpoint(folder / kind, kind) for kind in ("a2d-qwen3", "qwen2")},
    }

    def arguments(name):
        kind = EACH[name]
        if not name.startswith("codd_"):
            return folders[kind], SETTINGS
        path, vocab_size = folder / f"{kind}.safetensors", 512 if kind in checkpoints else tiny_qwen.VOCAB_SIZE
        shape = {"num_positions": 16, "num_latents": 2, "vocab_size": vocab_size, "dtype": torch.float32}
        save_circuit(random_circuit(0, **shape), path)
        return folders[kind], {**SETTINGS, **CIRCUIT, "pc": str(path)}

    return arguments


@pytest.mark.parametrize("name", EACH)
def test_all_stock_tasks_run_and_batches_change_nothing(arguments, run_stock, name):
    checkpoint, settings = arguments(name)
    results = [
        run_stock(get_model(name)(checkpoint, **settings, batch_size=size), stock_tasks.TASKS) for size in (1, 7)
    ]
    one, seven = map(values, results)
    assert {task for task, _ in one} == set(stock_tasks.TASKS)
    assert all(value < 0 for each in one.values() for value in each)
    assert same(one, seven)
    scores = [
        [value for values in result["results"].values() for value in values.values() if isinstance(value, float)]
        for result in results
    ]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("name", ["llada", "codd_llada", "masked_lm"])
def test_two_ranks_score_like_one(arguments, run_stock, tmp_path, name):
    checkpoint, settings = arguments(name)
    one = run_stock(get_model(name)(checkpoint, **settings), stock_tasks.TASKS)
    out = tmp_path / "out.json"
    ranks = start_ranks(2, score_stock_tasks, name, checkpoint, settings, stock_tasks.TASKS, out)
    for rank in ranks:
        rank.join(PATIENCE)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    two = json.loads(out.read_text())
    assert same(values(one), values(two))
    for count in ("likelihoods", "nfe", "tokens", "circuit_calls"):
        # lm-eval evens out the ranks with copies of a document.
        assert two["config"]["likelihoods"][count] >= one["config"]["likelihoods"][count]


class TestWhereNothingIsDecoded:
    def test_an_answer_need_not_fit_the_model_nor_a_circuit_the_answer(self, arguments, run_stock):
        checkpoint, settings = arguments("codd_llada")
        args = {"pretrained": checkpoint, "device": "cpu", "num_samples": 1, "max_length": 512}
        alone = run_stock("llada", ["arc_easy"], model_args=args)
        assert alone["config"]["settings"]["gen_length"] == 512
        fitting = run_stock("llada", ["arc_easy"], model_args=args | {"gen_length": 16, "block_length": 16})
        assert same(values(alone), values(fitting))
        coupled = run_stock("codd_llada", ["arc_easy"], model_args=args | {"pc": settings["pc"], "pc_frac": 1.1})
        assert coupled["config"]["likelihoods"]["circuit_calls"] > 0

    @pytest.mark.parametrize("tasks", [["arc_easy", "gsm8k"], ["gsm8k"], ["unknown"]])
    def test_where_something_may_be_it_is_refused_before_a_checkpoint_is_opened(self, run_stock, tasks):
        args = {"pretrained": "/nowhere", "device": "cpu", "max_length": 512}
        with pytest.raises(ValueError, match="`gen_length=512` leaves no room for a prompt in `max_length=512`"):
            run_stock("llada", tasks, model_args=args)

    def test_a_model_that_scores_refuses_to_decode_what_does_not_fit(self, checkpoints, run_stock, ask, monkeypatch):
        made = []
        monkeypatch.setattr(LLaDA, "loglikelihood", lambda self, requests: made.append(self) or [(-1.0, False)] * 15)
        run_stock("llada", ["arc_easy"], model_args={"pretrained": checkpoints["llada"], "max_length": 512})
        with pytest.raises(ValueError, match="`gen_length=512` leaves no room"):
            ask(made[0], ["a"])


@pytest.mark.parametrize("name", ["masked_lm", "codd_masked_lm"])
def test_values_are_those_of_the_python_api(arguments, run_stock, name):
    checkpoint, settings = arguments(name)
    lm = get_model(name)(checkpoint, **settings)
    result = run_stock(lm, ["arc_easy", "wikitext"], torch_random_seed=5)
    found, circuit = values(result), lm.circuit
    assert lm.backbone.family == ("a2d" if name == "masked_lm" else "open_dllm")
    assert (circuit is not None) is name.startswith("codd_")
    config = codd.LikelihoodConfig(num_samples=8, seed=5, **(CIRCUIT if circuit else {}))

    def score(pairs):
        return [one.value for one in codd.log_likelihood(lm.backbone, pairs, config, circuit)]

    for sample in result["samples"]["arc_easy"]:
        pairs = [pair_of(SimpleNamespace(args=arguments), lm.tok_encode) for arguments in sample["arguments"]]
        assert found["arc_easy", sample["doc_id"]] == pytest.approx(score(pairs), abs=2e-3)
    for sample in result["samples"]["wikitext"]:
        ((text, *_),) = sample["arguments"]
        windows = list(windows_of(SimpleNamespace(args=(text,)), lm.tok_encode, lm.max_length))
        assert list(itertools.chain(*(target for _, target in windows))) == lm.tok_encode(text)
        expected = math.fsum(score(windows))
        assert found["wikitext", sample["doc_id"]] == [pytest.approx(expected, abs=2e-3)]


def test_the_group_of_all_subjects_is_the_mean_over_its_documents(arguments, run_stock):
    checkpoint, settings = arguments("masked_lm")
    lm = get_model("masked_lm")(checkpoint, **{**settings, "num_samples": 1}, batch_size=32)
    result = run_stock(lm, ["mmlu"])
    right = [sample["acc"] for samples in result["samples"].values() for sample in samples]
    assert (len(result["samples"]), len(right)) == (57, 171)
    assert 0 < result["groups"]["mmlu"]["acc,none"] == pytest.approx(sum(right) / len(right))
    assert result["config"]["likelihoods"]["likelihoods"] == 4 * 171
