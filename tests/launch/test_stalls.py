"""A run that shows no sign of life is ended and tried once more. The clock is the test's own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from lm_eval_codd.launch import live
from lm_eval_codd.launch.devices import Slot
from lm_eval_codd.launch.execute import Job
from lm_eval_codd.launch.pulse import Pulse
from lm_eval_codd.launch.schedule import StopRequest, run_all
from lm_eval_codd.runs import record
from lm_eval_codd.runs.make_run import parse_run
from lm_eval_codd.runs.naming import run_name
from tests.launch.conftest import PATIENCE, RUNNER
from tests.run_files import data_folder

LIMIT = 3600.0


class TestAPulse:
    @pytest.fixture
    def pulse(self, tmp_path):
        self.now = 0.0
        (tmp_path / "log.txt").write_text("one\n")
        return Pulse(tmp_path, lambda: self.now)

    def silence_at(self, pulse, now):
        self.now = now
        return pulse.silence()

    def test_counts_the_seconds_without_a_sign(self, pulse):
        assert [self.silence_at(pulse, now) for now in (0.5, 5.0, 100.0)] == [0.5, 5.0, 100.0]

    @pytest.mark.parametrize("file", ["log.txt", "progress.json"])
    def test_beats_where_the_log_grows_or_there_is_progress(self, pulse, tmp_path, file):
        assert self.silence_at(pulse, 100.0) == 100.0
        (tmp_path / file).write_text("something else\n")
        assert self.silence_at(pulse, 200.0) == 0.0
        assert self.silence_at(pulse, 250.0) == 50.0

    def test_beats_where_the_clock_of_the_files_went_backwards(self, pulse, tmp_path):
        os.utime(tmp_path / "log.txt", (1, 1))
        assert self.silence_at(pulse, 100.0) == 0.0

    def test_of_a_folder_that_is_gone_is_silence(self, pulse, tmp_path):
        (tmp_path / "log.txt").unlink()
        assert self.silence_at(pulse, 100.0) == 0.0
        assert self.silence_at(pulse, 300.0) == 200.0


@dataclass
class Notes:
    """An observer that writes everything down."""

    stalls: list = field(default_factory=list)
    outcomes: list = field(default_factory=list)

    def started(self, execution):
        pass

    def ended(self, job, outcome):
        self.outcomes.append(outcome)

    def stalled(self, job, outcome):
        self.stalls.append(outcome)

    def held(self, job, holder):
        raise AssertionError(holder)

    def look(self, executions):
        pass


class TestAStall:
    @pytest.fixture
    def evaluate(self, checkpoint, tmp_path, monkeypatch):
        """`evaluate(**fake)`: a fake run, with a clock that goes on only while the run hangs; notes and run.json."""
        data_folder(tmp_path)
        monkeypatch.setenv("CODD_DATA_DIR", str(tmp_path))
        results = tmp_path / "results"

        def evaluate(**fake):
            monkeypatch.setenv("FAKE_RUN", json.dumps({"16": fake}))
            run = parse_run(f"--model_alias llada --llada_ckpt '{checkpoint}' --task gsm8k --num_steps 16")
            job = Job(run, run_name(run), results / run_name(run), {})
            notes, now = Notes(), [0.0]

            def clock():
                hanging = results / "hanging.txt"
                if hanging.exists() and len(hanging.read_text().splitlines()) > len(notes.stalls):
                    now[0] += LIMIT / 10
                return now[0]

            slot = Slot("cpu", "cpu")
            run_all([job], [slot], notes, StopRequest(), RUNNER, stall_limit=LIMIT, clock=clock)
            return notes, record.read(job.folder)

        return evaluate

    def test_once_is_ended_and_tried_again_and_goes_on_from_its_journal(self, evaluate, tmp_path):
        notes, about = evaluate(hangs=1, answers=3)
        (stall,) = notes.stalls
        assert stall.reason.startswith("no sign of life for ")
        assert [outcome.status for outcome in notes.outcomes] == ["finished"]
        assert (about["status"], len(about["stalls"])) == ("finished", 1)
        assert (tmp_path / "results" / "computed.txt").read_text().splitlines() == ["16 0", "16 1", "16 2"]

    def test_twice_is_a_failure(self, evaluate):
        notes, about = evaluate(hangs=9)
        assert len(notes.stalls) == 1
        (outcome,) = notes.outcomes
        assert outcome.status == "failed"
        assert "stalled again: no sign of life for " in outcome.reason
        assert (about["status"], len(about["stalls"])) == ("stalled", 2)

    def test_is_none_where_a_run_is_only_slow(self, evaluate):
        notes, about = evaluate(answers=3)
        assert notes.stalls == []
        assert "stalls" not in about


class TestWhatIsSaid:
    def test_of_a_stall_is_one_line(self, capsys):
        outcome = SimpleNamespace(seconds=3605.2, reason="no sign of life for 60 min")
        live.Lines([]).stalled("steps16", outcome)
        assert capsys.readouterr().out.endswith(
            "stalled  steps16 after 3605 s: no sign of life for 60 min; it is tried once more\n"
        )

    @pytest.mark.parametrize(("silence", "count"), [(599.0, "loading"), (4200.0, "loading, silent for 1:10:00")])
    def test_of_a_long_silence_is_how_long(self, silence, count):
        job = SimpleNamespace(run=SimpleNamespace(short_task="gsm8k"))
        going = SimpleNamespace(slot=Slot("cpu", "cpu"), job=job, silence=lambda: silence)
        assert live.View(going, None, None).count == count

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--stall_limit", "0"), "`--stall_limit 0` must be above 0 minutes; leave it out for no limit"),
            (("--stall_limit", "9", "--slurm", "time=60"), "`--stall_limit` is of runs on this machine; with --slurm"),
        ],
    )
    def test_of_a_limit_that_cannot_be_is_one_line(self, launcher, arguments, message):
        command = [sys.executable, "-m", "lm_eval_codd.launch", "--run", launcher.run_text(steps=16)]
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, env=launcher.environment, timeout=PATIENCE
        )
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert message in done.stderr
