"""The array as it is seen by who waits for it, with a queue that says what the test wants."""

import json

import pytest

from lm_eval_codd.launch.live import Lines
from lm_eval_codd.launch.schedule import StopRequest
from lm_eval_codd.launch.slurm import plan as plans
from lm_eval_codd.launch.slurm import queue, watch
from lm_eval_codd.launch.slurm.parts import Part
from lm_eval_codd.launch.slurm.start import _of_runs


class Array:
    """A plan in the queue, whose tasks do what they are told."""

    def __init__(self, jobs, folder):
        self.plan = plans.write(folder, [[Part(job)] for job in jobs], plans.About(("run",)))
        self.plan.note_job("7")
        self.names = [job.name for job in jobs]
        self.states = {"7": dict.fromkeys(range(len(jobs)), "PENDING")}
        tasks = list(watch.tasks_of(self.plan))
        self.following = watch.Following(tasks, Lines(watch.all_jobs(tasks)), lambda: self.states)

    def says(self, index, **event):
        with self.plan.events(index).open("a") as file:
            file.write(json.dumps(event) + "\n")

    def starts(self, index):
        self.states["7"][index] = "RUNNING"
        self.says(index, started=self.names[index], slot="node3 gpu 0", goes_on=False)

    def ends(self, index, status="finished", reason="", tail=()):
        outcome = {"status": status, "seconds": 3.0, "reason": reason, "log_tail": tail}
        self.says(index, ended=self.names[index], outcome=outcome)

    def leaves(self, index, looks=2):
        del self.states["7"][index]
        for _ in range(looks):
            self.following.look()

    def statuses(self):
        return [
            self.following.outcomes[name].status if name in self.following.outcomes else None for name in self.names
        ]


@pytest.fixture
def array(job_of, tmp_path):
    return lambda number: Array([job_of(f"--tag t{index}") for index in range(number)], tmp_path / "results")


@pytest.fixture
def forgotten(monkeypatch):
    monkeypatch.setattr(queue, "ended_as", lambda job, index: None)


class TestAnArray:
    def test_is_shown_as_runs_here_are(self, array, capsys):
        one = array(1)
        one.starts(0)
        one.following.look()
        one.ends(0)
        one.leaves(0)
        said = capsys.readouterr().out
        assert f"started  {one.names[0]} on task 7_0 (node3 gpu 0) (1/1)" in said
        assert f"finished {one.names[0]} in 3 s" in said
        one.following.until_over(StopRequest())
        assert one.statuses() == ["finished"]

    def test_names_a_failed_run_with_its_last_lines(self, array, capsys):
        one = array(2)
        one.starts(0)
        one.ends(0, "failed", "ValueError: no (exit status 1)", ["Traceback", "ValueError: no"])
        one.following.look()
        said = capsys.readouterr().out
        assert "failed   " in said and "ValueError: no (exit status 1)" in said and "    | ValueError: no" in said

    @pytest.mark.parametrize(
        ("state", "status"), [("CANCELLED", "interrupted"), ("NODE_FAIL", "failed"), ("OUT_OF_MEMORY", "failed")]
    )
    def test_with_a_task_that_went_without_a_word_says_what_became_of_it(
        self, array, monkeypatch, capsys, state, status
    ):
        monkeypatch.setattr(queue, "ended_as", lambda job, index: f"{state} (x)")
        one = array(1)
        one.starts(0)
        one.following.look()
        (one.plan.folder / "submitit").mkdir()
        (one.plan.folder / "submitit" / "7_0_0_log.out").write_text("slurmstepd: error: why\n")
        one.leaves(0)
        assert one.statuses() == [status]
        outcome = one.following.outcomes[one.names[0]]
        assert outcome.reason == f"task 7_0: {state} (x)"
        assert outcome.log_tail == ("slurmstepd: error: why",)
        if status == "failed":
            assert "    | slurmstepd: error: why" in capsys.readouterr().out

    def test_with_a_task_that_was_cancelled_before_it_began_has_not_failed(self, array, forgotten):
        one = array(2)
        one.starts(0)
        one.following.look()
        one.leaves(0, looks=0)
        one.leaves(1)
        assert one.statuses() == ["failed", "interrupted"]
        assert [one.following.outcomes[name].reason for name in one.names] == [
            "task 7_0: is gone from the queue",
            "task 7_1: CANCELLED before it began",
        ]

    def test_is_not_given_up_where_last_lines_come_late(self, array, forgotten):
        one = array(1)
        one.starts(0)
        one.leaves(0, looks=1)
        one.ends(0)
        one.following.look()
        assert one.statuses() == ["finished"]

    def test_that_is_requeued_goes_on(self, array, capsys):
        one = array(1)
        one.starts(0)
        one.following.look()
        one.ends(0, "interrupted", "interrupted")
        one.states["7"][0] = "PENDING"
        one.following.look()
        assert not one.following._tasks[0].is_over
        one.starts(0)
        one.ends(0)
        one.leaves(0)
        assert one.statuses() == ["finished"]
        assert capsys.readouterr().out.count("stopped  ") == 1

    def test_survives_a_slurm_that_does_not_answer(self, array, capsys):
        one = array(1)
        one.starts(0)
        one.following.look()
        states, one.states = one.states, None
        for _ in range(5):
            one.following.look()
        assert capsys.readouterr().out.count("Slurm does not answer") == 1
        assert one.statuses() == [None] and not one.following._tasks[0].is_over
        one.states = states
        one.ends(0)
        one.leaves(0)
        assert one.statuses() == ["finished"]

    def test_a_failed_run_that_a_requeue_repeats_counts_as_it_ended_last(self, array):
        one = array(1)
        one.starts(0)
        one.ends(0, "failed", "no")
        one.ends(0)
        one.leaves(0)
        assert one.statuses() == ["finished"]


class TestOutcomesOfSplitRuns:
    def test_are_the_run_s_own_or_the_worst_of_its_shards(self):
        def outcomes(**status):
            names = {"a": "x", "b": "x/shards/1-of-2", "c": "x/shards/2-of-2"}
            return {names[key]: watch.Outcome(value, 0.0) for key, value in status.items()}

        def status(**given):
            return {name: outcome.status for name, outcome in _of_runs(outcomes(**given)).items()}

        assert status(b="finished", c="finished", a="finished") == {"x": "finished"}
        assert status(b="failed", c="interrupted") == status(b="interrupted", c="failed") == {"x": "failed"}
        assert status(b="finished", c="interrupted") == {"x": "interrupted"}
        assert status(b="finished", c="finished") == {}


class TestWhatSlurmSays:
    def test_of_the_queue(self, monkeypatch):
        monkeypatch.setattr(queue, "_output", lambda command: "7 0 RUNNING\n7 12 PENDING\n9 N/A COMPLETING\n")
        assert queue.states() == {"7": {0: "RUNNING", 12: "PENDING"}, "9": {0: "COMPLETING"}}
        assert queue.is_waiting("PENDING") and not queue.is_waiting("RUNNING")

    def test_of_a_task_that_is_over(self, monkeypatch):
        line = "JobId=9 ArrayJobId=7 ArrayTaskId=3 JobName=x JobState=CANCELLED Reason=None Dependency=(null)\n"
        monkeypatch.setattr(queue, "_output", lambda command: line if command[-1] == "7_3" else None)
        assert queue.ended_as("7", 3) == "CANCELLED"
        assert queue.ended_as("7", 4) is None

    def test_is_nothing_where_there_is_no_slurm(self, monkeypatch):
        monkeypatch.setenv("PATH", "")
        assert (queue.states(), queue.ended_as("7", 0), queue.max_array_size()) == (None, None, None)
