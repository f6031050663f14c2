"""Tables of tasks that ask for likelihoods: what the scores are of, and which runs do not stand together."""

import json

import pytest

from lm_eval_codd.reporting.cells import group_runs
from lm_eval_codd.reporting.runs import read_folder
from tests.reporting.synthetic import write_run

LIKELIHOODS = {
    "what": "lower bound of the log-likelihood, over 32 random masks",
    "settings": {"estimator": "mc", "num_samples": 32, "ladder": "unbiased", "seed": 1234},
    "mean_nfe": 9.5,
}


def make_likely(folder, likelihoods):
    """Turn a written run into one of multiple choice."""
    (path,) = folder.glob("results_*.json")
    results = json.loads(path.read_text())
    results["config"]["likelihoods"] = likelihoods
    for config in results["configs"].values():
        config["output_type"] = "multiple_choice"
    path.write_text(json.dumps(results))


@pytest.fixture
def runs(tmp_path):
    for name, number in (("few", 32), ("many", 64)):
        write_run(tmp_path, [1, 0, 1], name=name)
        settings = {**LIKELIHOODS["settings"], "num_samples": number}
        make_likely(tmp_path / name, {**LIKELIHOODS, "settings": settings})
    folder = read_folder(tmp_path)
    assert not folder.problems
    return {run.name: run for run in folder.runs}


def test_a_run_says_what_its_scores_are_of_and_what_they_cost(runs):
    few = runs["few"]
    assert few.warnings[0] == "scored by the lower bound of the log-likelihood, over 32 random masks"
    assert few.task_arguments == {"num_samples": 32}
    assert (few.nfe, few.answer_tokens) == (9.5, None)


def test_other_numbers_of_masks_are_another_protocol(runs):
    assert len(group_runs(list(runs.values()))) == 2


def test_a_task_that_generates_says_nothing_of_them(tmp_path):
    write_run(tmp_path, [1, 0], name="text")
    (path,) = (tmp_path / "text").glob("results_*.json")
    results = json.loads(path.read_text())
    results["config"]["likelihoods"] = LIKELIHOODS
    path.write_text(json.dumps(results))
    (run,) = read_folder(tmp_path).runs
    assert run.task_arguments == {} and not any("likelihood" in warning for warning in run.warnings)
