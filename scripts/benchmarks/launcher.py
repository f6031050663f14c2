"""Runs on two CPU slots against one, and two ranks against two processes that know nothing of each other."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.arguments import whole
from benchmarks.table import Row, say
from lm_eval_codd.demo import CHECKPOINT

TASK: Final = "codd_demo"
_TIMED_RUN: Final = Path(__file__).with_name("timed_run.py")
_RANKS: Final = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
_SETTINGS: Final = {"num_steps": 32, "gen_length": 32, "block_length": 32, "dtype": "float32"}
# Long enough that it does not count which of two ranks has started first, as it does not in a real evaluation.
_LONG: Final = {**_SETTINGS, "num_steps": 64, "gen_length": 64}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `bench.py launcher`."""
    parser.description = (
        f"{parser.description or ''} `launcher.makespan_ratio`: equal runs of the demo on two slots against one, one "
        "thread a slot in both, the start of every run included. `launcher.ranks_ratio`: samples/s of two ranks of one "
        "thread against two processes with half of the requests each. Needs two idle cores."
    ).strip()
    parser.add_argument("--runs", type=whole(1), default=8, help="equal runs for the slots")
    parser.add_argument("--documents", type=whole(1), default=80, help="requests of a run on a slot")
    parser.add_argument("--rank-documents", type=whole(1), default=300, help="requests that two ranks share")
    parser.add_argument(
        "--rounds", type=whole(1), default=2, help="pairs of evaluations for the ranks, the best of each"
    )


def run(arguments: argparse.Namespace) -> list[Row]:
    """Rows of the slots and of the ranks."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            *_slots(arguments.runs, arguments.documents, Path(folder)),
            *_ranks(arguments.rank_documents, arguments.rounds, Path(folder)),
        ]


def _slots(num_runs: int, documents: int, home: Path) -> list[Row]:
    say("launcher.makespan_ratio")
    one, two = (_makespan(gpus, num_runs, documents, home / gpus) for gpus in ("cpu", "cpu,cpu"))
    note = f"{num_runs} runs of {documents} documents, {one:.1f} s on one slot, {two:.1f} s on two"
    return [Row("launcher.makespan_ratio", two / one, "x", "<= 0.55", note)]


def _makespan(gpus: str, num_runs: int, documents: int, folder: Path) -> float:
    """Seconds of the launcher for runs that differ in their seed alone, which all decode the same number of steps."""
    flags = {**_SETTINGS, "model_alias": "llada", "llada_ckpt": "demo", "task": "demo", "limit": documents}
    flags |= {"batch_size": 10, "temperature": 1, "stop_at_eos": "false"}
    text = " ".join(f"--{name} {value}" for name, value in flags.items())
    runs = [argument for seed in range(num_runs) for argument in ("--run", f"{text} --seed {seed}")]
    return _seconds([["-m", "lm_eval_codd", "launch", "--gpus", gpus, "--output_dir", str(folder), *runs]])


def _ranks(documents: int, rounds: int, home: Path) -> list[Row]:
    say("launcher.ranks_ratio")
    # As lm-eval deals them out.
    halves = [list(range(first, documents, 2)) for first in range(2)]
    apart, together = [], []
    for round_ in range(rounds):
        folders = [home / f"apart{round_}_{index}" for index in range(2)]
        _seconds([_evaluation(half, folder) for half, folder in zip(halves, folders, strict=True)])
        apart.append(max(map(_evaluation_seconds, folders)))
        folder = home / f"together{round_}"
        _seconds([[*_RANKS, *_evaluation(list(range(documents)), folder)]])
        together.append(_evaluation_seconds(folder))
    note = f"{documents} documents, {min(apart):.1f} s apart, {min(together):.1f} s as ranks; best of {rounds}"
    return [Row("launcher.ranks_ratio", min(apart) / min(together), "x", ">= 0.95", note)]


def _evaluation(documents: list[int], folder: Path) -> list[str]:
    """Arguments of Python for an evaluation of these documents."""
    folder.mkdir()
    return [
        *(str(_TIMED_RUN), str(folder), "run", "--model", "llada", "--device", "cpu", "--batch_size", "10"),
        *("--model_args", json.dumps({"pretrained": str(CHECKPOINT), "stop_at_eos": False, **_LONG})),
        *("--tasks", TASK, "--samples", json.dumps({TASK: documents}), "--apply_chat_template"),
        *("--output_path", str(folder / "results.json")),
    ]


def _seconds(commands: list[list[str]]) -> float:
    """Seconds until all of these have ended, started together with one thread each."""
    path = os.pathsep.join([str(_TIMED_RUN.parents[1]), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    with contextlib.ExitStack() as files:
        # Files, since a full pipe would hold a process up.
        outputs = [files.enter_context(tempfile.TemporaryFile()) for _ in commands]
        start = time.perf_counter()
        running = [
            subprocess.Popen([sys.executable, *command], stdout=output, stderr=subprocess.STDOUT, env=environment)
            for command, output in zip(commands, outputs, strict=True)
        ]
        codes = [process.wait() for process in running]
        seconds = time.perf_counter() - start
        for command, code, output in zip(commands, codes, outputs, strict=True):
            if code:
                output.seek(0)
                raise RuntimeError(f"`python {shlex.join(command)}` ended with {code}:\n{output.read().decode()}")
    return seconds


def _evaluation_seconds(folder: Path) -> float:
    """Of the slowest process."""
    return max(float(file.read_text(encoding="utf-8")) for file in folder.glob("seconds_*"))
