"""Two processes share an evaluation, for real: torchrun, gloo, the harness's own collectives."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from lm_eval_codd.models.dream import Dream
from lm_eval_codd.models.evaluation import Evaluation
from lm_eval_codd.models.front_door import refuse_idle_ranks
from lm_eval_codd.models.ranks import Ranks

SETTINGS = {"num_steps": 8, "gen_length": 16, "temperature": 1.0, "batch_size": 2, "device": "cpu"}
SCRIPT = """
import json, sys
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from lm_eval_codd.models.dream import Dream

checkpoint, settings, tasks, out, cache, journal = sys.argv[1:]
manager = TaskManager(include_defaults=False, include_path=tasks)
for use_cache, journal in ((None, None), (cache, None), (cache, None), (None, journal)):
    lm = Dream(checkpoint, journal=journal, **json.loads(settings))
    result = simple_evaluate(lm, tasks=["tiny"], task_manager=manager, bootstrap_iters=0, use_cache=use_cache)
    assert (result is None) == (lm.rank > 0)
    if result:
        with open(out, "a") as file:
            file.write(json.dumps(result, default=str) + "\\n")
"""


def answers(result):
    samples = sorted(result["samples"]["tiny"], key=lambda sample: sample["doc_id"])
    return [sample["filtered_resps"] for sample in samples]


class TestOneProcess:
    def test_it_is_alone_and_gathers_what_it_has(self):
        ranks = Ranks()
        assert (ranks.rank, ranks.world_size, ranks.local_rank) == (0, 1, 0)
        assert ranks.gather_object("mine") == ["mine"]
        assert ranks.all_gather(torch.tensor(3)) == torch.tensor(3)


@pytest.mark.slow
def test_two_processes_share_the_work_and_answer_like_one(checkpoints, make_tasks, evaluate, tmp_path):
    rows = {"num_rows": 5}  # an odd number, so that the harness pads one rank
    journal = tmp_path / "journal"
    one = evaluate(Dream(checkpoints["dream"], journal=journal, **SETTINGS), rows)
    (file,) = journal.iterdir()
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-2]))
    script, out = tmp_path / "script.py", tmp_path / "out.jsonl"
    script.write_text(SCRIPT)
    arguments = [checkpoints["dream"], json.dumps(SETTINGS), str(make_tasks(**rows)), str(out)]
    arguments += [str(tmp_path / "cache"), str(journal)]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    two, filled, from_cache, resumed = map(json.loads, out.read_text().splitlines())

    assert answers(two) == answers(one)
    assert two["config"]["world_size"] == 2
    for count in ("requests", "nfe", "answer_tokens"):
        assert two["config"][count] == one["config"][count]
    # A rank whose answers are all cached decodes nothing, and nobody waits for it.
    assert answers(from_cache) == answers(filled) == answers(one)
    assert from_cache["config"]["requests"] == 0
    # One process's journal, less its last two answers, goes on with two.
    assert answers(resumed) == answers(one)
    assert (resumed["config"]["requests"], resumed["config"]["journalled_answers"]) == (5, 3)
    assert resumed["config"]["nfe"] == one["config"]["nfe"]


@pytest.mark.parametrize("limit, world_size, refused", [(1, 2, True), (3, 4, True), (2, 2, False), (1, 1, False)])
def test_fewer_documents_than_processes_are_refused_before_one_of_them_stops(limit, world_size, refused):
    with pytest.raises(ValueError, match="use --limit") if refused else nullcontext():
        refuse_idle_ranks(Evaluation(limit=limit), world_size)


@pytest.mark.parametrize("limit", [None, 0.1])
def test_a_limit_that_says_no_number_of_documents_is_not(limit):
    refuse_idle_ranks(Evaluation(limit=limit), 8)


def test_the_limit_of_the_running_evaluation_is_what_counts(checkpoints, evaluate, monkeypatch):
    monkeypatch.setattr(Ranks, "__init__", lambda self: vars(self).update(rank=0, world_size=2, local_rank=0))
    with pytest.raises(ValueError, match="`--limit 1` gives 2 processes 1 document"):
        evaluate("dream", model_args={"pretrained": checkpoints["dream"], **SETTINGS}, limit=1)
