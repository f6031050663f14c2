import io
import json
import os
import pty
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from lm_eval_codd.launch import live
from lm_eval_codd.launch.devices import Slot
from lm_eval_codd.launch.execute import Job, Outcome
from lm_eval_codd.runs import progress
from lm_eval_codd.runs.make_run import parse_run
from tests.launch.conftest import PATIENCE


@pytest.fixture
def going(tmp_path: Path):
    """Two runs under way; the second is four times as long."""

    def execution(steps: int):
        run = parse_run(f"--model_alias llada --task gsm8k --num_steps {steps}")
        folder = tmp_path / f"run [{steps}]"
        folder.mkdir()
        job = Job(run, folder.name, folder, {})
        return SimpleNamespace(job=job, slot=Slot(f"gpu {steps}", "cuda:0"), goes_on=False, silence=lambda: 0.0)

    return [execution(64), execution(256)]


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(live.time, "monotonic", lambda: now.seconds)
    return now


def say(execution, **said) -> None:
    (execution.job.folder / progress.FILE).write_text(json.dumps(said))


def drawn(views, watch, width=100) -> list[str]:
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    console.print(live.picture(views, watch))
    text = re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())
    return [line.rstrip() for line in text.splitlines()]


class TestWatching:
    def test_measures_speed_on_what_was_done_since_it_first_looked(self, going, clock):
        watch = live.Watch([execution.job for execution in going])
        say(going[0], done=600, total=1000, tokens_per_second=35.24, step=3)
        first, second = watch.look(going)
        assert (first.count, first.speed, first.left) == ("600/1000", "35.2 tokens/s", "-:--:--")
        assert (second.count, second.speed, second.left) == ("loading", "- tokens/s", "-:--:--")
        clock.seconds += 100
        say(going[0], done=700, total=1000, tokens_per_second=35.24)
        first, _ = watch.look(going)
        # 100 answers in 100 seconds; the 600 before came out of a journal.
        assert first.left == "0:05:00"
        # Of a work of 1 + 4, 0.1 was done in 100 seconds and 0.7 is behind.
        assert watch.share == pytest.approx(0.7 / 5)
        assert watch.left == pytest.approx(4.3 / 0.1 * 100)

    def test_counts_a_run_that_is_over(self, going, clock):
        watch = live.Watch([execution.job for execution in going])
        clock.seconds += 60
        watch.end(going[0].job, Outcome("finished", 60.0))
        assert (watch.num_ended, watch.num_runs, watch.share) == (1, 2, pytest.approx(0.2))
        assert watch.left == pytest.approx(240)

    def test_does_not_take_anothers_work_for_its_own_speed(self, going, clock):
        watch = live.Watch([execution.job for execution in going])
        clock.seconds += 60
        watch.end(going[0].job, Outcome("finished", 0.0, "by another launcher"))
        assert (watch.share, watch.left) == (pytest.approx(0.2), None)

    @pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"done": 1}', '{"done": "x", "total": 2}', "\x00"])
    def test_a_torn_file_says_nothing(self, tmp_path, content):
        (tmp_path / progress.FILE).write_text(content)
        assert progress.read(tmp_path) is None

    def test_the_first_batch_shows_its_steps(self, going, clock):
        say(going[0], done=0, total=10, step=7)
        assert live.Watch([going[0].job]).look(going[:1])[0].count == "0/10 (step 7)"


class TestThePicture:
    def test_is_a_line_a_slot_and_a_bar_for_the_whole(self, going, clock):
        watch = live.Watch([execution.job for execution in going])
        say(going[0], done=600, total=1000, tokens_per_second=35.24)
        lines = drawn(watch.look(going), watch)
        assert re.fullmatch(r"gpu 64 +run \[64\] +gsm8k +600/1000 +35\.2 tokens/s +-:--:--", lines[0])
        assert re.fullmatch(r"gpu 256 +run \[256\] +gsm8k +loading +- tokens/s +-:--:--", lines[1])
        assert re.fullmatch(r"0/2 runs +━+[╸╺ ━]* +-:--:--", lines[2])
        assert len(lines) == 3

    def test_keeps_to_the_width_of_the_terminal(self, going, clock):
        going[0].job.folder.rename(going[0].job.folder.with_name("x" * 150))
        job = going[0].job
        going[0].job = Job(job.run, "x" * 150, job.folder.with_name("x" * 150), {})
        watch = live.Watch([execution.job for execution in going])
        lines = drawn(watch.look(going), watch, width=80)
        assert len(lines) == 3
        assert all(len(line) <= 80 for line in lines)
        assert "…" in lines[0]


class TestWithoutATerminal:
    def test_a_line_a_minute_and_run(self, going, clock, capsys):
        with live.view([execution.job for execution in going], io.StringIO()) as view:
            assert type(view) is live.Lines
            say(going[0], done=1, total=10, tokens_per_second=2)
            view.look(going)
            assert capsys.readouterr().out == ""
            clock.seconds += 61
            view.look(going)
            view.look(going)
        lines = [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines()]
        assert lines == [
            "going    run [64]: 1/10, 2.0 tokens/s, -:--:-- left",
            "going    run [256]: loading, - tokens/s, -:--:-- left",
            "         0 of 2 runs, 2% of the work",
        ]


class TestOnATerminal:
    def run(self, launcher, terminal: str, fake: dict, until: bytes = b"") -> tuple[int, str]:
        """The launcher's output on a terminal of its own; its run does not end before `until` is seen there."""
        shown = launcher.results.parent / "shown"
        fake = {"16": {**fake, "shown": str(shown)}}
        ours, theirs = pty.openpty()
        environment = {**launcher.environment, "FAKE_RUN": json.dumps(fake), "TERM": terminal, "COLUMNS": "120"}
        process = subprocess.Popen(
            launcher.command([launcher.run_text(steps=16)]), stdout=theirs, stderr=theirs, env=environment
        )
        os.close(theirs)
        output = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:
                break
            if not part:
                break
            output += part
            if until in output:
                shown.touch()
        os.close(ours)
        return process.wait(timeout=PATIENCE), output.decode()

    def test_the_picture_is_drawn_over_itself_and_events_stay(self, launcher):
        code, output = self.run(launcher, "xterm", {"answers": 8}, until=b"12.5 tokens/s")
        assert code == 0
        assert "0/1 runs" in output and re.search(r"[1-8]/8", output) and "12.5 tokens/s" in output
        assert "\x1b[1A" in output
        assert output.index("started  llada") < output.index("finished llada") < output.index("Results are in")

    def test_a_dumb_one_gets_plain_lines(self, launcher):
        code, output = self.run(launcher, "dumb", {"answers": 3})
        assert code == 0
        assert "\x1b" not in output and "finished llada" in output


class TestWhereTheFileIs:
    def test_it_is_gone_when_the_run_is_over(self, launcher):
        code, _ = launcher([launcher.run_text(steps=16)], fake={"16": {"answers": 2}})
        assert code == 0
        assert not list(launcher.results.glob("*/progress.json"))
