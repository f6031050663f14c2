"""The launcher's command line: what `./eval.sh` runs."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from lm_eval_codd.launch import record
from lm_eval_codd.launch.command import RUNNER, build_command
from lm_eval_codd.launch.devices import Slot, cpu_slots, make_slots
from lm_eval_codd.launch.errors import NotStarted
from lm_eval_codd.launch.execute import Job, Outcome
from lm_eval_codd.launch.fetch import fetch, needs
from lm_eval_codd.launch.flags import Flag, format_help, parse
from lm_eval_codd.launch.jobs import Selection, demo_runs, prepare_folder, select
from lm_eval_codd.launch.run_flags import GROUPS
from lm_eval_codd.launch.schedule import StopRequest, plan, run_all
from lm_eval_codd.reporting.summary import format_table, read_row

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130

FLAGS: Final = (
    Flag("run", "str", "the flags of one run, in quotes; as often as there are runs", repeat=True),
    Flag("demo", "bool", "evaluate the demo checkpoint at 2 to 32 steps, on the CPU and without a download"),
    Flag("gpus", "str", "slots, one run each at a time: GPU ids, or cpu", default="all GPUs, else cpu"),
    Flag("output_dir", "str", "where every run gets its folder", default="results"),
    Flag("tag", "str", "a word for the name of every run that has no tag of its own"),
    Flag("limit", "float", "first N documents, or a share below 1, for every run that sets none of its own"),
    Flag("force", "bool", "run finished runs again; earlier results stay beside the new ones"),
    Flag("dry-run", "bool", "check everything, list the runs, their commands and their cost, and start nothing"),
    Flag("help", "bool", "show this help"),
)

_USAGE: Final = """\
Evaluate LLaDA and Dream checkpoints, several runs at a time.

  ./eval.sh --demo
  ./eval.sh --gpus 0,1 --run '--model_alias llada --task gsm8k --num_steps 128' \\
                       --run '--model_alias dream --task math500 --alg entropy --num_steps 256'
  ./eval.sh --gpus cpu,cpu --limit 8 --run '--model_alias llada --llada_ckpt "/models/my llada" --task mbpp'

All runs are checked before the first one starts. The longest start first. Each writes OUTPUT_DIR/NAME/ with lm-eval's
results_*.json and samples_*.jsonl, log.txt, and run.json with everything resolved. Exit status: 0, 1 when a run failed,
2 when nothing was started, 130 when interrupted.
"""


def main(argv: Sequence[str] | None = None, *, runner: Sequence[str] = RUNNER) -> int:
    """Run the launcher; returns its exit status.

    Args:
        argv: the command line without the program's name.
        runner: the command that executes a run, to which the run's own arguments are added.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if "-h" in argv or "--help" in argv:
        print(_help())
        return DONE
    try:
        options = parse(argv, FLAGS)
        texts = [*options.get("run", []), *(demo_runs() if options.get("demo") else [])]
        if not texts:
            raise ValueError("there is nothing to run; give --run '...' or --demo (--help says more)")
        gpus = options.get("gpus", None if options.get("run") else cpu_slots(len(texts)))
        slots = make_slots(gpus)
        output_dir = Path(options.get("output_dir", "results")).expanduser().resolve()
        defaults = {name: options[name] for name in ("limit", "tag") if name in options}
        selection = select(texts, output_dir, defaults, force=options.get("force", False))
        if options.get("dry_run"):
            _show_plan(_jobs(selection, output_dir, {}), selection, slots, runner)
            return DONE
        prepare_folder(output_dir)
    except ValueError as error:
        return _refuse([str(error)])
    except NotStarted as error:
        return _refuse(error.lines)
    return _launch(selection, slots, output_dir, runner)


class Printer:
    """Prints a line an event, and the end of a failed run's log."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._started = 0

    def started(self, job: Job, slot: Slot) -> None:
        """A run was started."""
        self._started += 1
        say(f"started  {job.name} on {slot.label} ({self._started}/{self._total})")

    def ended(self, job: Job, outcome: Outcome) -> None:
        """A run has ended."""
        took = f"{outcome.seconds:.0f} s"
        if outcome.status == "finished":
            row = read_row(job.folder)
            say(f"finished {job.name} in {took}: {row.score() if row else 'no score'}")
        elif outcome.status == "failed":
            say(f"failed   {job.name} after {took}: {outcome.reason}; log: {job.folder / record.LOG}")
            for line in outcome.log_tail:
                print(f"    | {line}", flush=True)
        else:
            say(f"stopped  {job.name} after {took}")


def say(text: str) -> None:
    """Print one line with the time."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def _launch(selection: Selection, slots: Sequence[Slot], output_dir: Path, runner: Sequence[str]) -> int:
    for remark in selection.remarks:
        say(remark)
    waiting = {name: run for name, run in selection.runs.items() if name not in selection.finished}
    outcomes: dict[str, Outcome] = {}
    with StopRequest().listening() as stop:
        try:
            revisions = _fetch(needs(waiting), stop)
        except NotStarted as error:
            return _refuse(error.lines)
        if not stop:
            outcomes = run_all(_jobs(selection, output_dir, revisions), slots, Printer(len(waiting)), stop, runner)
    if rows := [row for name in selection.runs if (row := read_row(output_dir / name))]:
        print(f"\n{format_table(rows)}\n\nResults are in {output_dir}", flush=True)
    unfinished = [name for name in waiting if name not in outcomes or outcomes[name].status == "interrupted"]
    if unfinished:
        say(f"interrupted; not finished: {', '.join(unfinished)}")
        return INTERRUPTED
    failed = [name for name, outcome in outcomes.items() if outcome.status == "failed"]
    if failed:
        say(f"{len(failed)} of {len(waiting)} runs failed: {', '.join(failed)}")
    return FAILED if failed else DONE


def _fetch(wanted: Mapping[str, Mapping[str, Sequence[str]]], stop: StopRequest) -> dict[str, str]:
    items = [*wanted["models"], *wanted["tasks"]]
    if items:
        say(f"fetching {', '.join(items)}")
    return fetch(wanted, stop)


def _jobs(selection: Selection, output_dir: Path, revisions: Mapping[str, str]) -> list[Job]:
    jobs = []
    for name, run in selection.runs.items():
        if name not in selection.finished:
            sources = (run.checkpoint, run.peft, run.circuit)
            own = {source: revisions[source] for source in sources if source in revisions}
            jobs.append(Job(run, name, output_dir / name, own))
    return jobs


def _show_plan(jobs: Sequence[Job], selection: Selection, slots: Sequence[Slot], runner: Sequence[str]) -> None:
    for remark in selection.remarks:
        print(remark)
    print(f"runs: {len(jobs)}; slots: {', '.join(slot.label for slot in slots)}; the longest first")
    for number, (job, slot) in enumerate(plan(jobs, slots), start=1):
        rows = job.run.num_rows
        total = "" if rows is None else f" x {rows} rows = {job.run.num_forward * rows} forward passes"
        print(f"\n{number}. {job.name}\n   slot {slot.label}; NFE {job.run.num_forward}{total}")
        environment = [f"{name}={shlex.quote(value)}" for name, value in slot.environment.items()]
        command = build_command(job.run, job.folder, slot.device, tuple(runner))
        print("   " + " ".join([*environment, shlex.join(command)]))


def _help() -> str:
    return f"{_USAGE}\n{format_help({'command': FLAGS, **GROUPS})}"


def _refuse(lines: Iterable[str]) -> int:
    for line in lines:
        print(f"error: {line}", file=sys.stderr)
    return REFUSED
