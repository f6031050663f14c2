"""A task on its node: what it executes, what it says, and how it ends."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time

import pytest

from lm_eval_codd.launch.environment import of_one_process
from lm_eval_codd.launch.slurm import plan as plans
from lm_eval_codd.launch.slurm.events import Ended, Reader, Started
from lm_eval_codd.launch.slurm.parts import Part, split
from lm_eval_codd.launch.slurm.task import Task, run_task
from tests.launch.conftest import PATIENCE, RUNNER


@pytest.fixture
def written(job_of, tmp_path, monkeypatch):
    """A plan of one task with the given numbers of steps, and what the fake runs do."""

    def write(steps, fake=None, shards=1):
        monkeypatch.setenv("FAKE_RUN", json.dumps(fake or {}))
        (tmp_path / "results").mkdir(exist_ok=True)
        jobs = [job_of(f"--num_steps {number}") for number in steps]
        parts = [part for job in jobs for part in (split([job], shards) if shards > 1 else [Part(job)])]
        return plans.write(tmp_path / "results", [parts], plans.About(RUNNER))

    return write


def order(plan) -> list[str]:
    path = plan.output_dir / "order.txt"
    return [" ".join(line.split()[:2]) for line in path.read_text().splitlines()] if path.exists() else []


class TestATask:
    def test_executes_its_runs_and_says_so_in_its_own_file(self, written):
        plan = written([16, 32])
        assert run_task(plan.folder, 0) == 0
        events = Reader(plan.events(0)).read()
        assert [type(event) for event in events] == [Started, Ended, Started, Ended]
        assert {event.outcome.status for event in events if isinstance(event, Ended)} == {"finished"}

    def test_with_a_failed_run_executes_the_others_and_fails(self, written):
        plan = written([16, 32], {"32": {"fail": 3, "print": "ValueError: no"}})
        assert run_task(plan.folder, 0) == 1
        failed = [
            e.outcome for e in Reader(plan.events(0)).read() if isinstance(e, Ended) and e.outcome.status == "failed"
        ]
        assert [(one.reason, one.log_tail[-1]) for one in failed] == [
            ("ValueError: no (exit status 3)", "ValueError: no")
        ]
        assert "end 16" in order(plan)

    def test_started_again_does_nothing_twice(self, written):
        plan = written([16, 32])
        assert run_task(plan.folder, 0) == run_task(plan.folder, 0) == 0
        assert sorted(order(plan)) == ["end 16", "end 32", "start 16", "start 32"]

    def test_ends_split_runs_itself_where_it_has_all_their_shards(self, written):
        plan = written([16], shards=2)
        assert run_task(plan.folder, 0) == 0
        assert order(plan) == ["start 16", "end 16"]
        shards = plan.task(0)[0].job.folder / "shards"
        assert len((shards / "order.txt").read_text().splitlines()) == 4
        names = [event.name.partition("/")[2] for event in Reader(plan.events(0)).read() if isinstance(event, Ended)]
        assert (sorted(names), names[-1]) == (["", "shards/1-of-2", "shards/2-of-2"], "")

    def test_notes_the_number_that_the_array_has(self, written, monkeypatch):
        plan = written([16])
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "77")
        run_task(plan.folder, 0)
        assert plan.job == "77"

    def test_that_asked_for_gpus_takes_no_cpu_for_them(self, job_of, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", "")
        plan = plans.write(tmp_path / "results", [[Part(job_of())]], plans.About(RUNNER, has_gpus=True))
        with pytest.raises(ValueError, match="asked for GPUs and sees none"):
            run_task(plan.folder, 0)

    def test_ends_at_sigterm_with_its_answers_and_goes_on_from_them(self, written, tmp_path):
        plan = written([16, 32], {"16": {"answers": 300, "each": 0.05}, "32": {"answers": 300, "each": 0.05}})
        command = [sys.executable, "-m", "lm_eval_codd.launch.slurm", str(plan.folder), "0"]
        process = subprocess.Popen(command)
        while not (plan.output_dir / "computed.txt").exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE) == 143
        assert len(order(plan)) == 1
        os.environ["FAKE_RUN"] = json.dumps({"16": {"answers": 300}, "32": {"answers": 300}})
        assert run_task(plan.folder, 0) == 0
        computed = (plan.output_dir / "computed.txt").read_text().splitlines()
        assert len(computed) == len(set(computed)) == 600


class TestWhatIsPickled:
    def test_is_two_words(self, written):
        pickled = pickle.dumps(Task("/a/plan", 3))
        assert vars(pickle.loads(pickled)) == {"plan": "/a/plan", "index": 3}
        assert len(pickled) < 200

    def test_is_requeued_as_it_is_by_either_name_that_submitit_asks_for(self):
        pytest.importorskip("submitit")
        for name in ("checkpoint", "__submitit_checkpoint__"):
            again = getattr(Task("/a/plan", 3), name)()
            assert vars(again.function) == {"plan": "/a/plan", "index": 3}

    def test_fails_in_a_status_of_its_own(self, written):
        plan = written([16], {"16": {"fail": 1}})
        with pytest.raises(SystemExit, match="1"):
            Task(str(plan.folder), 0)()


class TestEvents:
    def test_half_written_are_read_once_they_are_whole(self, tmp_path):
        path = tmp_path / "events"
        reader = Reader(path)
        assert reader.read() == []
        path.write_bytes(b'\n{"started": "a", "slot": "n cpu", "goes_on": fa')
        assert reader.read() == []
        with path.open("ab") as file:
            file.write(b'lse}\nnonsense\n{"started": 1}\n')
        assert reader.read() == [Started("a", "n cpu", False)]
        assert reader.read() == []


class TestTheEnvironmentOfARun:
    def test_announces_no_other_processes(self):
        allocation = {
            **{"SLURM_PROCID": "1", "SLURM_NTASKS": "4", "SLURM_MEM_PER_NODE": "1", "PMI_RANK": "1", "PMI_SIZE": "4"},
            **{"WORLD_SIZE": "4", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "n", "OMPI_COMM_WORLD_SIZE": "4"},
        }
        kept = {"PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf", "CUDA_VISIBLE_DEVICES": "0", "HF_HOME": "/hf"}
        assert of_one_process({**allocation, **kept}) == kept

    def test_is_that_of_the_launcher_s_runs(self, written, monkeypatch):
        for name in ("WORLD_SIZE", "RANK", "SLURM_PROCID"):
            monkeypatch.setenv(name, "3")
        plan = written([16], {"16": {"environment": ["WORLD_SIZE", "RANK", "SLURM_PROCID", "HF_HUB_OFFLINE"]}})
        assert run_task(plan.folder, 0) == 0
        log = (plan.task(0)[0].job.folder / "log.txt").read_text()
        assert "environment: WORLD_SIZE=None RANK=None SLURM_PROCID=None HF_HUB_OFFLINE=1" in log
