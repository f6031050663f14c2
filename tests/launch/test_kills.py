"""The demo, really evaluated, killed and preempted at random: the answers and tables of an undisturbed run."""

import contextlib
import io
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from functools import cached_property
from pathlib import Path

import pytest

from lm_eval_codd.commands import harness
from lm_eval_codd.reporting.cli import report_main
from tests.forked import start
from tests.launch.kills import children, journalled, kill, kill_all

DOCUMENTS = 16
SWEEP = "model_alias=llada llada_ckpt=demo task=demo gen_length=32 block_length=32 dtype=float32 num_steps=8"
LAUNCH = ("-m", "lm_eval_codd.launch", "--gpus", "cpu,cpu", "--limit", str(DOCUMENTS), "--sweep")


class Sweep:
    """Two runs on two slots, one greedy and one drawn, by the launcher as a process of its own."""

    def __init__(self, results: Path) -> None:
        self.results = results

    def start(self) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, *LAUNCH, f"{SWEEP} temperature=0,0.7", "--output_dir", str(self.results)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
        )

    def finish(self) -> str:
        """The same command until it has nothing more to do; what it says."""
        process = self.start()
        output, _ = process.communicate(timeout=900)
        assert process.returncode == 0, output
        return output

    def statuses(self) -> set[str]:
        return {json.loads(path.read_text())["status"] for path in self.results.glob("*/run.json")}

    def samples(self) -> dict[str, bytes]:
        """The samples file of every run's last results."""
        found = {}
        for path in self.results.glob("*/run.json"):
            stamp = json.loads(path.read_text())["results"].removeprefix("results_").removesuffix(".json")
            found[path.parent.name] = (path.parent / f"samples_codd_demo_{stamp}.jsonl").read_bytes()
        return found

    @cached_property
    def tables(self) -> str:
        """Of finished runs, everything that `report` prints but the tables of seconds and what is said of these."""
        with contextlib.redirect_stdout(io.StringIO()) as said:
            assert not report_main([str(self.results)])
        said = re.sub(r"\*\*[^\n]*seconds a sample[^\n]*\*\*\n\n(?:\|[^\n]*\n)+", "", said.getvalue())
        return re.sub(r"\n\[\w+\] not [^\n]*a speed[^\n]*\n", "", said)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    sweep = Sweep(tmp_path_factory.mktemp("undisturbed"))
    sweep.finish()
    assert set(journalled(sweep.results).values()) == {1}
    assert len(journalled(sweep.results)) == 2 * DOCUMENTS
    return sweep


def assert_equal(sweep, undisturbed):
    """Every answer once, under the keys of the undisturbed run, and the same samples and tables, byte for byte."""
    assert journalled(sweep.results) == journalled(undisturbed.results)
    assert sweep.samples() == undisturbed.samples()
    assert "accuracy in percent" in sweep.tables
    assert sweep.tables == undisturbed.tables


def at_random(process, sweep, generator) -> None:
    """Wait until some more answers are there, or a moment of the start, or the end."""
    enough = journalled(sweep.results).total() + generator.randint(0, DOCUMENTS)
    if generator.random() < 0.25:
        time.sleep(generator.uniform(0, 5))
        return
    while process.poll() is None and journalled(sweep.results).total() < enough:
        time.sleep(0.005)


class TestKilledAtRandomMoments:
    def test_nothing_is_lost_nothing_made_twice_and_the_tables_are_equal(self, times, undisturbed, tmp_path):
        seed = random.randrange(10**6)
        print(f"seed {seed}")  # shown where the test fails
        generator = random.Random(seed)
        sweep, kills = Sweep(tmp_path / "0"), 0
        while kills < times(1, 50):
            before = journalled(sweep.results)
            process = sweep.start()
            at_random(process, sweep, generator)
            victim = generator.choice(["worker", "launcher", "everything"])
            if process.poll() is None:
                kills += 1
                if victim == "worker":
                    below = children(process.pid)
                    kill(generator.choice(below) if below else process.pid)
                    process.communicate(timeout=900)
                elif victim == "launcher":
                    kill(process.pid)
                    process.communicate()
                else:
                    kill_all(process)
            else:
                process.communicate()
            assert not before - journalled(sweep.results)
            if sweep.statuses() == {"finished"} and len(list(sweep.results.glob("*/run.json"))) == 2:
                assert_equal(sweep, undisturbed)
                sweep = Sweep(tmp_path / str(kills))
        sweep.finish()
        assert_equal(sweep, undisturbed)


def evaluate(folder: Path) -> None:
    """lm-eval's own command line on the demo, with a journal; what it logs goes to `said.txt`."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.getLogger("lm_eval").addHandler(logging.FileHandler(folder / "said.txt"))
    settings = f"pretrained=demo,num_steps=32,block_length=32,journal={folder / 'run' / 'journal'}"
    harness.run(["--model", "llada", "--model_args", settings, "--tasks", "codd_demo", "--apply_chat_template"])


class TestSIGTERM:
    def test_preempts_the_launcher_and_its_runs_and_the_same_command_goes_on(self, undisturbed, tmp_path):
        sweep = Sweep(tmp_path)
        process = sweep.start()
        while not journalled(sweep.results):
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.terminate()
        output, _ = process.communicate(timeout=900)
        assert process.returncode == 143, output
        assert "preempted; not finished: " in output
        assert sweep.statuses() == {"preempted"}
        logs = [path.read_text() for path in tmp_path.glob("*/log.txt")]
        assert any("preempted (SIGTERM): the answers so far are journalled in " in log for log in logs)
        assert "resumed  " in sweep.finish()
        assert_equal(sweep, undisturbed)

    def test_preempts_lm_eval_itself(self, tmp_path):
        process = start(evaluate, tmp_path)
        while not journalled(tmp_path):
            assert process.is_alive()
            time.sleep(0.005)
        process.terminate()
        process.join(900)
        assert process.exitcode == 143
        said = (tmp_path / "said.txt").read_text()
        assert "preempted (SIGTERM): the answers so far are journalled in " in said
        lines = b"".join(path.read_bytes() for path in tmp_path.glob("run/journal/*"))
        assert lines.endswith(b'"}\n')
