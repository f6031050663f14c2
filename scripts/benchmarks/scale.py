"""`bench.py scale`: an array of thousands of tasks without a model, from the command line to the report."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from benchmarks.table import Row, say
from lm_eval_codd.launch import jobs as launching
from lm_eval_codd.launch.execute import Job
from lm_eval_codd.launch.slurm import queue, start
from lm_eval_codd.launch.slurm.watch import Following, all_jobs, tasks_of
from lm_eval_codd.reporting.cli import report_main
from lm_eval_codd.runs import record
from lm_eval_codd.runs.sweep import parse_sweep

if TYPE_CHECKING:
    from lm_eval_codd.launch.slurm.plan import Plan

T = TypeVar("T")

_GRID: Final = (
    "model_alias=llada 'llada_ckpt={checkpoint}' task=gsm8k,math500,gpqa,mbpp alg=low_confidence,margin,entropy,random "
    "num_steps=32,64,128,256,512 temperature=0.5 seed={seeds}"
)
_POINTS_OF_A_SEED: Final = 4 * 4 * 5
_DOCUMENTS: Final = 8
_RUNNING: Final = 200
# The goal: so many in so many seconds.
_RUNS: Final = 10_000
_GOAL: Final = 120.0
# What submitit starts and asks: they take an array and know nothing of it.
_SBATCH: Final = "#!/bin/sh\necho Submitted batch job 7\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--tasks", type=int, default=_RUNS, help="tasks of the array, a run each")


def run(arguments: argparse.Namespace) -> list[Row]:
    """The figures, in the order in which a user meets them."""
    from tests.run_files import checkpoint_folder, data_folder

    rows: list[Row] = []
    seconds: list[float] = []

    def timed(name: str, work: Callable[[], T]) -> T:
        say(name)
        began, busy = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            found = work()
        seconds.append(time.perf_counter() - began)
        rows.append(Row(f"scale.{name}", seconds[-1], "s", note=f"{time.process_time() - busy:.2f} s of CPU time"))
        return found

    with tempfile.TemporaryDirectory() as parent, _fake_slurm(Path(parent)):
        folder = Path(parent)
        data_folder(folder)
        os.environ["CODD_DATA_DIR"] = str(folder)
        seeds = ",".join(map(str, range(1, 1 + -(-arguments.tasks // _POINTS_OF_A_SEED))))
        grid = parse_sweep(_GRID.format(checkpoint=checkpoint_folder(folder), seeds=seeds))
        results = folder / "results"
        results.mkdir()
        selection = timed("check_the_runs", lambda: launching.select([], [grid], results, {}))
        jobs = [Job(run, name, results / name, {}) for name, run in selection.runs.items()]
        request = start.read_request({"slurm": "time=60", "runs_per_task": 1})
        assert request is not None
        plan = timed("pack_and_submit", lambda: start.start(jobs, request, results, ("run",)))
        following = timed("open_a_view", lambda: _follow(plan, len(jobs)))
        timed("look", following.look)
        _write_results(jobs, results)
        _write_events(plan)
        timed("look_at_the_end", following.look)
        timed("same_command_again", lambda: launching.select([], [grid], results, {}))
        timed("report", lambda: report_main([str(results)]))
        rows += [
            Row("scale.all", sum(seconds), "s", f"<= {_GOAL * len(jobs) / _RUNS:g}", f"{len(jobs)} runs, a task each"),
            Row("scale.load", os.getloadavg()[0], "", note=f"of the machine, on {os.cpu_count()} cores"),
            Row("scale.plan_bytes", (plan.folder / "plan.jsonl").stat().st_size / len(jobs), "bytes", note="a run"),
        ]
    return rows


def _follow(plan: Plan, number: int) -> Following:
    from lm_eval_codd.launch.live import Lines

    states = {"7": {index: "RUNNING" if index < _RUNNING else "PENDING" for index in range(number)}}
    tasks = list(tasks_of(plan))
    return Following(tasks, Lines(all_jobs(tasks)), lambda: states)


def _write_results(jobs: Sequence[Job], results: Path) -> None:
    from tests.reporting.synthetic import outcomes, write_run

    for job in jobs:
        config = job.run.config
        folder = write_run(
            results,
            outcomes(_DOCUMENTS, 5),
            benchmark=job.run.short_task,
            alg=config.alg,
            steps=config.num_steps,
            name=job.name,
            temperature=config.temperature,
            seed=config.seed,
        )
        about = {"identity": job.run.identity(), "fingerprints": job.run.fingerprints(), "ended": record.now()}
        record.write(folder, {**json.loads((folder / record.FILE).read_text()), **about})


def _write_events(plan: Plan) -> None:
    outcome = {"status": "finished", "seconds": 60.0, "reason": "", "log_tail": []}
    for index, ((job, _, _),) in enumerate(plan.tasks()):
        started = {"started": job.name, "slot": "n", "goes_on": False}
        lines = (started, {"ended": job.name, "outcome": outcome})
        plan.events(index).write_text("".join(f"{json.dumps(line)}\n" for line in lines))


@contextlib.contextmanager
def _fake_slurm(folder: Path) -> Iterator[None]:
    programs = folder / "bin"
    programs.mkdir()
    for name in ("sbatch", "srun"):
        (programs / name).write_text(_SBATCH)
        (programs / name).chmod(0o755)
    before, sizes = os.environ["PATH"], queue.max_array_size
    os.environ["PATH"] = f"{programs}{os.pathsep}{before}"
    queue.max_array_size = lambda: 100_001  # type: ignore[assignment]
    try:
        yield
    finally:
        os.environ["PATH"] = before
        queue.max_array_size = sizes
