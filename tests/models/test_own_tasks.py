"""Each task through lm-eval itself, with a tiny checkpoint: prompts, decoding, stop strings, filters and metrics."""

import pytest
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from lm_eval_codd.catalogue import TASKS
from lm_eval_codd.registration import tasks_dir

NAMES = [name for name, task in TASKS.items() if not task.prefix]
SETTINGS = {
    "gen_length": 16,
    "block_length": 16,
    "num_steps": 4,
    "temperature": 0.8,
    "dtype": "float32",
    "max_length": 64,
}


@pytest.fixture(params=["llada", "dream"])
def results(request, checkpoints, golden_dir, monkeypatch):
    monkeypatch.setenv("CODD_DATA_DIR", str(golden_dir / "tasks" / "data"))
    return simple_evaluate(
        request.param,
        model_args={"pretrained": checkpoints[request.param], **SETTINGS},
        tasks=NAMES,
        task_manager=TaskManager(include_defaults=False, include_path=str(tasks_dir())),
        limit=2,
        batch_size=8,
        device="cpu",
        bootstrap_iters=0,
        confirm_run_unsafe_code=True,
    )


def test_the_tasks_of_other_papers_run_offline(results):
    for name in NAMES:
        metric = results["configs"][name]["metadata"]["reported"]
        assert 0.0 <= results["results"][name][metric] <= 1.0
        for sample in results["samples"][name]:
            ((answers),) = sample["resps"]
            assert len(answers) == TASKS[name].repeats
            until = results["configs"][name]["generation_kwargs"]["until"]
            assert not any(stop in answer for stop in until for answer in answers)
            if TASKS[name].repeats > 1:
                assert len(set(answers)) > 1
                assert 0.0 <= sample["pass_at_1"] <= sample["pass_at_10"] <= 1.0
    assert not any("chat template" in warning for warning in results["config"]["warnings"])
    assert results["config"]["requests"] == 2 * sum(TASKS[name].repeats for name in NAMES)
