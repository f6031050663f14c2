"""Demo runs on a real Slurm that is disturbed, against the same runs here."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lm_eval_codd.reporting.runs import read_folder

_DEMO = "model_alias=llada llada_ckpt=demo task=demo gen_length=32 block_length=32 dtype=float32 batch_size=2"
# Twelve runs.
SWEEPS = (
    f"{_DEMO} num_steps=4,8,16,32 pc_ckpt=none,demo pc_frac=1.1",
    f"{_DEMO} decoder=cad threshold=0.5,0.8",
    f"{_DEMO} decoder=p2 eta=2 num_steps=4,8",
)
LIMIT = "12"
_PATIENCE = 900.0


def launch(*arguments: str, results: Path, sweeps: tuple[str, ...] = SWEEPS) -> list[str]:
    swept = [part for sweep in sweeps for part in ("--sweep", sweep)]
    command = [sys.executable, "-m", "lm_eval_codd", "launch", *arguments, *swept]
    return [*command, "--limit", LIMIT, "--output_dir", str(results)]


def run(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_PATIENCE
    )
    return done.returncode, done.stdout


def until(what: str, holds: Callable[[], object]) -> None:
    end = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.2)


def table(results: Path) -> dict[str, tuple]:
    """What a report shows of each run, but for what it took."""
    folder = read_folder(results)
    assert not folder.problems
    return {run.name: (run.status, run.value, run.stderr, run.n, run.nfe, run.circuit_calls) for run in folder.runs}


def samples(results: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in results.glob("*/samples_*.jsonl")}


def keys(results: Path) -> Counter:
    """How often each answer was computed: the keys of all journals."""
    lines = [line for path in results.glob("*/journal/*.jsonl") for line in path.read_text().splitlines()]
    return Counter(json.loads(line).get("key") for line in lines if '"key"' in line)


@pytest.fixture(scope="module")
def local(cluster, tmp_path_factory):
    """The same runs here."""
    results = tmp_path_factory.mktemp("local")
    status, said = run(launch("--gpus", "cpu,cpu", results=results), cluster.environment)
    assert status == 0, said
    return results


class TestTwelveRuns:
    def test_that_are_cancelled_requeued_and_lose_their_node_daemon_end_in_the_local_table(
        self, cluster, local, tmp_path
    ):
        results = tmp_path / "results"
        # Two tasks run, two wait.
        command = launch(
            "--slurm", "time=60", "--wait", "--runs_per_task", "3", "--array_parallelism", "2", results=results
        )
        with (tmp_path / "said").open("w") as said:
            first = subprocess.Popen(command, env=cluster.environment, stdout=said, stderr=subprocess.STDOUT)
        told = (tmp_path / "said").read_text
        until("a submission", lambda: "submitted job " in told() or first.poll() is not None)
        job = told().partition("submitted job ")[2].partition(":")[0]
        until(
            "both tasks' work",
            lambda: {"0", "1"} <= {path.stem[-1] for path in results.glob(".slurm/*/events-*.jsonl")},
        )
        until("answers", lambda: len(list(results.glob("*/journal/*.jsonl"))) >= 2)

        # What Slurm sends before a time limit, at once: how long these runs take does not matter then.
        cluster.send(signal.SIGUSR2, f"{job}_0")
        cluster.ask("scancel", f"{job}_1", f"{job}_3")
        cluster.restart_node()
        assert first.wait(timeout=_PATIENCE) in (130, 143), told()
        assert "stopped  " in told() and "not finished: " in told()
        assert "Restarts=1" in cluster.ask("scontrol", "show", "job", "--oneliner", f"{job}_0"), told()
        # Slurm keeps no record of one that had not started.
        assert (cluster.state(f"{job}_1"), cluster.state(f"{job}_3")) == ("CANCELLED", None)
        assert "failed   " not in told()

        status, output = run(command, cluster.environment)
        assert status == 0, output
        assert table(results) == table(local)
        assert len(table(results)) == 12
        assert samples(results) == samples(local)
        assert keys(results) == keys(local)


class TestARunInShards:
    def test_is_the_run_that_was_never_split(self, cluster, local, tmp_path):
        one = (f"{_DEMO} num_steps=8 pc_ckpt=demo pc_frac=1.1",)
        command = launch("--slurm", "time=60", "--wait", "--shards", "3", results=tmp_path, sweeps=one)
        status, output = run(command, cluster.environment)
        assert status == 0, output
        ((name, row),) = table(tmp_path).items()
        assert row == table(local)[name]
        assert samples(tmp_path)[name] == samples(local)[name]
        assert set(keys(tmp_path).values()) == {1}


class TestAScript:
    def test_runs_without_submitit(self, cluster, local, tmp_path):
        one = (f"{_DEMO} num_steps=4,8",)
        status, output = run(
            launch("--slurm", "time=60", "--print_sbatch", results=tmp_path, sweeps=one), cluster.environment
        )
        assert status == 0, output
        (script,) = tmp_path.glob(".slurm/*/array.sh")
        job = cluster.ask("sbatch", "--parsable", str(script)).strip()
        until("the array's end", lambda: not cluster.ask("squeue", "--noheader", "--job", job).strip())
        assert samples(tmp_path) == {name: text for name, text in samples(local).items() if name in table(tmp_path)}
        assert len(table(tmp_path)) == 2
