"""The benchmarks of everything around the decoding, on very little, and what they measure with."""

import argparse
import importlib
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from lm_eval_codd.launch import main as launch_main
from tests.forked import PATIENCE, start

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import argparse, importlib, json, sys

module = importlib.import_module(f"benchmarks.{sys.argv[1]}")
parser = argparse.ArgumentParser()
module.add_arguments(parser)
rows = module.run(parser.parse_args(sys.argv[2:]))
print(json.dumps({row.name: row.value for row in rows}))
"""


def measure(name: str, *arguments: str) -> dict[str, float]:
    """The figures of one benchmark by name, measured in a process of its own as bench.py does."""
    environment = {name: value for name, value in os.environ.items() if name != "CODD_DATA_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, name, *arguments],
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def measure_forked(name: str, folder: Path, *arguments: str) -> dict[str, float]:
    """As `measure`, of a benchmark that does not care how much its process has imported already."""
    process = start(_measure, name, folder / "figures.json", arguments)
    process.join(PATIENCE)
    assert process.exitcode == 0
    return json.loads((folder / "figures.json").read_text())


def _measure(name: str, written: Path, arguments: tuple[str, ...]) -> None:
    os.environ.pop("CODD_DATA_DIR", None)
    module = importlib.import_module(f"benchmarks.{name}")
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    rows = module.run(parser.parse_args(arguments))
    written.write_text(json.dumps({row.name: row.value for row in rows}))


@pytest.fixture
def scripts(monkeypatch):
    """bench.py's folder on the path, as it is when bench.py runs."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))


@pytest.fixture
def watch(scripts, monkeypatch):
    """A stopwatch whose clock stands still unless `watch.pass_` is called."""
    from benchmarks import stopwatch

    now = [0.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])

    def pass_(seconds: float) -> None:
        now[0] += seconds

    watch = stopwatch.Stopwatch()
    watch.pass_ = pass_
    return watch


class TestStopwatch:
    def test_a_part_inside_of_a_part_counts_once(self, watch):
        with watch.running():
            watch.pass_(1)
            with watch.part("outer"):
                watch.pass_(2)
                with watch.part("inner"):
                    watch.pass_(4)
                watch.pass_(8)
            watch.pass_(16)
        watch.pass_(32)
        assert watch.seconds == {"rest": 17, "outer": 10, "inner": 4}

    def test_a_function_is_watched_until_the_end(self, watch):
        class Owner:
            @staticmethod
            def work(seconds: float) -> str:
                watch.pass_(seconds)
                return "done"

        with pytest.raises(KeyError), watch.running():
            watch.watch("work", Owner, "work")
            assert Owner.work(3) == "done"
            raise KeyError
        Owner.work(5)
        assert watch.seconds == {"rest": 0, "work": 3}


class TestStandIn:
    def test_made_up_rows_are_as_many_and_as_long_as_the_real_ones(self, scripts, tmp_path):
        from benchmarks import stand_in

        stand_in.write_rows(tmp_path)
        rows = stand_in.read_rows(tmp_path)
        assert len(rows) == 1319
        assert len({row["question"] for row in rows[:100]}) == 100
        assert 240 <= sum(len(row["question"]) for row in rows) / len(rows) <= 360
        assert all("#### " in row["answer"] for row in rows)


@pytest.mark.slow
def test_an_evaluation_is_measured_without_the_decoding(tmp_path):
    figures = measure_forked("harness", tmp_path, "--requests", "12", "--batch-size", "4", "--starts", "0")
    assert figures.keys() == {"harness.overhead_seconds"}
    assert figures["harness.overhead_seconds"] > 0


@pytest.mark.slow
@pytest.mark.skipif(
    not list(Path(sysconfig.get_path("purelib")).glob("*lm_eval_codd*.pth")), reason="the package is not installed here"
)
def test_the_start_is_measured_with_the_start_up_files_and_without(scripts, tmp_path):
    from benchmarks import start_up

    added, alone = start_up.help_milliseconds(1)
    assert added < alone
    files = list(Path(sysconfig.get_path("purelib")).glob("*lm_eval_codd*.pth"))
    hook = "import sys; print('_lm_eval_codd_boot' in sys.modules)"
    for given, is_there in (([], "False"), (files, "True")):
        python = start_up.make_python(tmp_path / is_there, given)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run([python, "-c", hook], capture_output=True, text=True, check=True, env=environment)
        assert (done.stdout.strip(), done.stderr) == (is_there, "")


class TestLauncher:
    """What is started is told to a stand-in; that it runs is shown by the tests of the launcher and of ranks."""

    @pytest.fixture
    def figures(self, scripts, monkeypatch):
        from benchmarks import launcher

        def seconds(commands: list[list[str]]) -> float:
            if "launch" not in commands[0]:
                for command in commands:
                    script = command.index(str(launcher._TIMED_RUN))
                    documents = json.loads(command[command.index("--samples") + 1])[launcher.TASK]
                    ranks = 2 if "--nproc-per-node=2" in command else 1
                    Path(command[script + 1], "seconds_1").write_text(str(len(documents) / ranks))
                return 0.0
            assert commands[0].count("--run") == 2
            assert launch_main([*commands[0][3:], "--dry-run"]) == 0
            return 2.0 if "cpu,cpu" in commands[0] else 4.0

        monkeypatch.setattr(launcher, "_seconds", seconds)
        parser = argparse.ArgumentParser()
        launcher.add_arguments(parser)
        rows = launcher.run(parser.parse_args(["--runs", "2", "--rank-documents", "6"]))
        return {row.name: row.value for row in rows}

    def test_slots_and_ranks_are_held_against_one(self, figures):
        assert figures == {"launcher.makespan_ratio": 0.5, "launcher.ranks_ratio": 1.0}

    def test_an_evaluation_is_timed_without_its_imports(self, scripts, watch, tmp_path, monkeypatch):
        from benchmarks import timed_run
        from lm_eval import evaluator

        monkeypatch.setattr(evaluator, "evaluate", lambda: watch.pass_(3))
        monkeypatch.setattr(timed_run.harness, "run", lambda arguments: (watch.pass_(9), evaluator.evaluate()))
        monkeypatch.setattr(sys, "argv", ["timed_run.py", str(tmp_path), "run"])
        timed_run.main()
        (written,) = tmp_path.glob("seconds_*")
        assert written.read_text() == "3.0"


class TestSandbox:
    def test_programs_pass_in_the_sandbox_and_have_a_price(self):
        figures = measure("sandbox", "--programs", "4")
        assert figures["sandbox.passed"] == 4
        assert figures["sandbox.ratio_to_bare"] > 0
