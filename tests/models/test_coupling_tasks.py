"""The tasks of dependent tokens through lm-eval itself, with and without a circuit, on tiny checkpoints."""

import json

import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from lm_eval_codd import circuits
from lm_eval_codd.catalogue import GROUPS, task_name
from lm_eval_codd.circuits.hmm import HMM
from lm_eval_codd.coupling_tasks.items import prompt, test_items
from lm_eval_codd.registration import tasks_dir

test_items.__test__ = False
SETTINGS = {"block_length": 16, "num_steps": 2, "dtype": "float32", "max_length": 1024}


def evaluate(model, checkpoint, tasks, **arguments):
    return simple_evaluate(
        model,
        model_args={"pretrained": checkpoint, "gen_length": 16, **SETTINGS, **arguments},
        tasks=tasks,
        task_manager=TaskManager(include_defaults=False, include_path=str(tasks_dir())),
        limit=2,
        batch_size=8,
        device="cpu",
        bootstrap_iters=0,
    )


def test_the_group_runs_offline_and_has_the_scores_of_every_constraint(checkpoints, monkeypatch):
    monkeypatch.delenv("CODD_DATA_DIR", raising=False)
    results = evaluate("llada", checkpoints["llada"], ["codd_coupling"])
    for short in GROUPS["coupling"]:
        name, scores = task_name(short), results["results"][task_name(short)]
        described = {f"{one['metric']},none" for one in results["configs"][name]["metric_list"]}
        assert {key for key in scores if key.endswith(",none") and "_stderr" not in key} == described
        assert scores["correct,none"] == 0.0  # a random model's bytes
        item = test_items(short.removeprefix("coupling_"))[0]
        asked = results["samples"][name][0]["arguments"][0][0]
        assert prompt(short.removeprefix("coupling_"), item) in asked
    assert {"codd_coupling", "codd_coupling_joint", "codd_coupling_control"} <= results["groups"].keys()
    assert not any("rows" in warning for warning in results["config"]["warnings"])
    json.dumps(results["configs"], default=str)


def test_a_circuit_runs_on_them(checkpoints, monkeypatch):
    generator = torch.Generator().manual_seed(0)

    def table(*shape):
        return torch.rand(shape, generator=generator).square().softmax(-1)

    circuit = HMM(table(8), table(8, 8), (40 * table(8, 512)).softmax(-1), num_positions=16)
    monkeypatch.setattr(circuits, "load_circuit", lambda path, revision: circuit, raising=False)
    tasks = ["codd_coupling_shuffle", "codd_coupling_copy"]
    results = evaluate("codd_llada", checkpoints["llada"], tasks, pc="a.jpc", pc_frac=1.1)
    assert results["config"]["circuit_calls"] > 0
    for name in tasks:
        assert results["results"][name]["correct,none"] == 0.0


@pytest.mark.parametrize("model", ["llada", "dream"])
def test_the_answers_length_is_the_models(checkpoints, model):
    results = evaluate(model, checkpoints[model], ["codd_coupling_latin_square"], gen_length=32)
    assert results["config"]["settings"]["gen_length"] == 32
