"""Two processes share an evaluation, for real: gloo, and the harness's own collectives."""

import json
from contextlib import nullcontext

import pytest
import torch

from lm_eval_codd.models.dream import Dream
from lm_eval_codd.models.evaluation import Evaluation
from lm_eval_codd.models.front_door import refuse_idle_ranks
from lm_eval_codd.models.ranks import Ranks
from tests.forked import PATIENCE
from tests.models.processes import evaluate_in_four_ways, start_ranks

SETTINGS = {"num_steps": 8, "gen_length": 16, "temperature": 1.0, "batch_size": 2, "device": "cpu"}


def answers(result):
    samples = sorted(result["samples"]["tiny"], key=lambda sample: sample["doc_id"])
    return [sample["filtered_resps"] for sample in samples]


class TestOneProcess:
    def test_it_is_alone_and_gathers_what_it_has(self):
        ranks = Ranks()
        assert (ranks.rank, ranks.world_size, ranks.local_rank) == (0, 1, 0)
        assert ranks.gather_object("mine") == ["mine"]
        assert ranks.all_gather(torch.tensor(3)) == torch.tensor(3)

    @pytest.mark.parametrize(
        "allocation",
        [
            {"SLURM_NTASKS": "4", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_JOB_NUM_NODES": "2"},
            {"PMI_SIZE": "4", "PMI_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "1"},
            # What many batch scripts export for programs that are not this one.
            {"WORLD_SIZE": "4", "MASTER_ADDR": "node1", "MASTER_PORT": "29500", "SLURM_NTASKS": "4"},
        ],
    )
    def test_in_an_allocation_it_is_alone_all_the_same(self, allocation, monkeypatch):
        for name, value in allocation.items():
            monkeypatch.setenv(name, value)
        assert (Ranks().rank, Ranks().world_size) == (0, 1)


def test_two_processes_share_the_work_and_answer_like_one(checkpoints, make_tasks, evaluate, tmp_path):
    rows = {"num_rows": 5}  # an odd number, so that the harness pads one rank
    journal = tmp_path / "journal"
    one = evaluate(Dream(checkpoints["dream"], journal=journal, **SETTINGS), rows)
    (file,) = journal.iterdir()
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-2]))
    out = tmp_path / "out.jsonl"
    asked = (checkpoints["dream"], SETTINGS, str(make_tasks(**rows)), out, journal)
    ranks = start_ranks(2, evaluate_in_four_ways, *asked)
    for rank in ranks:
        rank.join(PATIENCE)
    assert [rank.exitcode for rank in ranks] == [0, 0]
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


def test_fewer_samples_than_processes_are_refused():
    with pytest.raises(ValueError, match="`--samples` gives 2 processes 1 document"):
        refuse_idle_ranks(Evaluation(samples={"a": [0, 1], "b": [7]}), 2)
    refuse_idle_ranks(Evaluation(samples={"a": [0, 1], "b": [7]}), 1)


def test_the_limit_of_the_running_evaluation_is_what_counts(checkpoints, evaluate, monkeypatch):
    monkeypatch.setattr(Ranks, "__init__", lambda self: vars(self).update(rank=0, world_size=2, local_rank=0))
    with pytest.raises(ValueError, match="`--limit 1` gives 2 processes 1 document"):
        evaluate("dream", model_args={"pretrained": checkpoints["dream"], **SETTINGS}, limit=1)
