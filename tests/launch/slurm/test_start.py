"""From the command line to an array: one submission, nothing submitted twice, and what does not go together."""

import os
import subprocess
from typing import ClassVar

import pytest

from lm_eval_codd.launch import main
from lm_eval_codd.launch.schedule import StopRequest
from lm_eval_codd.launch.slurm import plan as plans
from lm_eval_codd.launch.slurm import queue, start
from lm_eval_codd.launch.slurm.options import parse_cluster
from lm_eval_codd.launch.slurm.submit import submit
from tests.launch.slurm.conftest import finish
from tests.run_files import data_folder


class FakeExecutor:
    """Takes what submitit's takes, and numbers the arrays."""

    submissions: ClassVar[list[list]] = []
    refusal: str | None = None

    def __init__(self, folder, most_timeouts):
        self.folder, self.most_timeouts, self.parameters = folder, most_timeouts, {}

    def update_parameters(self, **parameters):
        self.parameters |= parameters

    def submit_array(self, tasks):
        if self.refusal:
            raise RuntimeError(self.refusal)
        self.environment = dict(os.environ)
        self.submissions.append(tasks)
        number = 40 + len(self.submissions)
        return [type("Job", (), {"job_id": f"{number}_{index}"}) for index in range(len(tasks))]


@pytest.fixture
def executor(monkeypatch):
    monkeypatch.setattr(FakeExecutor, "submissions", [])
    monkeypatch.setattr(queue, "max_array_size", lambda: 1001)
    return FakeExecutor


@pytest.fixture
def on_slurm(executor, monkeypatch, tmp_path):
    """Submits jobs with a queue of the given states; returns the sizes of the submissions so far."""

    def run(jobs, states=None, **options):
        monkeypatch.setattr(queue, "states", lambda: states or {})
        request = start.read_request({"slurm": "time=5", **options})
        start.on_slurm(request, tmp_path / "results", ("run",), jobs, StopRequest(), executor)
        return [len(tasks) for tasks in executor.submissions]

    return run


class TestRuns:
    def test_become_one_array(self, on_slurm, job_of, tmp_path, capsys):
        jobs = [job_of(f"--tag t{number}") for number in range(5)]
        assert on_slurm(jobs, runs_per_task=2) == [3]
        (plan,) = plans.read_all(tmp_path / "results")
        assert plan.job == "41"
        assert "submitted job 41: 5 runs in 3 tasks of an array" in capsys.readouterr().out

    def test_in_the_queue_are_not_submitted_again(self, on_slurm, job_of, capsys):
        jobs = [job_of(f"--tag t{number}") for number in range(3)]
        on_slurm(jobs)
        assert on_slurm(jobs, {"41": {0: "RUNNING", 1: "PENDING", 2: "PENDING"}}) == [3]
        assert "3 runs in the queue already (job 41), not submitted again" in capsys.readouterr().out

    def test_of_a_task_that_was_cancelled_are_submitted_again(self, on_slurm, job_of):
        jobs = [job_of(f"--tag t{number}") for number in range(3)]
        on_slurm(jobs)
        assert on_slurm(jobs, {"41": {1: "PENDING"}}) == [3, 2]
        assert on_slurm(jobs, {}) == [3, 2, 3]

    def test_are_waited_for_in_every_array_that_has_them(self, on_slurm, job_of, monkeypatch):
        jobs = [job_of(f"--tag t{number}") for number in range(3)]
        on_slurm(jobs)
        followed = []
        monkeypatch.setattr(start, "follow", lambda tasks, stop: followed.extend(map(str, tasks)))
        on_slurm(jobs, {"41": {1: "PENDING"}}, wait=True)
        # The other two tasks of the first array were cancelled; their runs are in the second.
        assert followed == ["task 41_1", "task 42_0", "task 42_1"]

    def test_are_packed_as_max_array_size_needs(self, on_slurm, job_of, monkeypatch):
        monkeypatch.setattr(queue, "max_array_size", lambda: 3)
        jobs = [job_of(f"--tag t{number}") for number in range(8)]
        assert on_slurm(jobs) == [3]
        with pytest.raises(
            ValueError, match=r"`--runs_per_task 2` makes 4 tasks of 8 runs.*takes 3 here.*use 3 or more"
        ):
            on_slurm(jobs, runs_per_task=2)

    def test_anew_start_from_nothing_once(self, on_slurm, job_of):
        job = job_of()
        finish(job)
        (job.folder / "journal").mkdir()
        on_slurm([job.__class__(job.run, job.name, job.folder, {}, anew=True)])
        assert not (job.folder / "run.json").exists() and not (job.folder / "journal").exists()
        assert list(job.folder.glob("run.json.*")) and list(job.folder.glob("journal.*"))


class TestASubmission:
    def test_is_requeued_at_time_limits_more_than_thrice(self, executor, job_of, tmp_path, monkeypatch):
        monkeypatch.setenv("SLURM_MEM_PER_NODE", "1")
        monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
        made = []
        plan = plans.write(tmp_path / "results", [[]], plans.About(("run",)))
        submit(plan, 1, parse_cluster("time=60"), None, lambda *args: made.append(executor(*args)) or made[-1])
        assert made[0].most_timeouts >= 1000
        # What an allocation of the launcher's own has set is no option of the array's.
        assert "SLURM_MEM_PER_NODE" not in made[0].environment and "SLURM_CONF" in made[0].environment
        assert os.environ["SLURM_MEM_PER_NODE"] == "1"

    def test_that_slurm_refuses_is_one_line(self, on_slurm, job_of, executor, monkeypatch, tmp_path):
        said = "Command failed\nsbatch: error: invalid partition specified: x\nTraceback"
        monkeypatch.setattr(FakeExecutor, "refusal", said)
        with pytest.raises(
            ValueError, match=r"^Slurm takes no such array: sbatch: error: invalid partition specified: x$"
        ):
            on_slurm([job_of()])
        assert list((tmp_path / "results" / ".slurm").iterdir()) == []

    def test_as_a_script_is_bash(self, on_slurm, job_of, tmp_path, capsys):
        jobs = [job_of(f"--tag t{number}") for number in range(3)]
        assert (
            on_slurm(jobs, print_sbatch=True, slurm="time=60 partition=gpu 'comment=two words'", array_parallelism=2)
            == []
        )
        (script,) = (tmp_path / "results").glob(".slurm/*/array.sh")
        subprocess.run(["bash", "-n", script], check=True)
        text = script.read_text()
        assert "#SBATCH --array=0-2%2\n" in text and "#SBATCH --comment='two words'\n" in text
        assert text in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--wait"], "`--wait` is read with --slurm"),
            (["--slurm", "time=5", "--gpus", "0"], "`--gpus` is of this machine"),
            (["--slurm", "time=5", "--shards", "0"], "`--shards 0` must be 1 or more"),
            (["--slurm", "partition=gpu"], "`--slurm` needs time="),
            (["--slurm", "time=5", "--gpus_per_run", "2"], "asks for no GPUs; add gpus_per_node=2"),
        ],
    )
    def test_that_cannot_be_is_refused_before_anything_is_written(
        self, arguments, message, checkpoint, tmp_path, capsys
    ):
        run = f"--model_alias llada --llada_ckpt '{checkpoint}' --task gsm8k"
        assert main(["--run", run, "--output_dir", str(tmp_path / "results"), *arguments]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "results").exists()


class TestPrefetch:
    def test_starts_nothing(self, checkpoint, tmp_path, capsys, monkeypatch):
        data_folder(tmp_path)
        monkeypatch.setenv("CODD_DATA_DIR", str(tmp_path))
        run = f"--model_alias llada --llada_ckpt '{checkpoint}' --task gsm8k"
        assert main(["--prefetch", "--gpus", "cpu", "--run", run, "--output_dir", str(tmp_path / "results")]) == 0
        assert "everything that 1 run needs is on this machine" in capsys.readouterr().out
        assert list((tmp_path / "results").iterdir()) == []
