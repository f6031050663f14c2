"""The launcher's command line: what `./eval.sh` runs."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.files.outputs import check_folder
from lm_eval_codd.launch.closing import show_demo, show_runs
from lm_eval_codd.launch.command import RUNNER
from lm_eval_codd.launch.demos import DEMOS
from lm_eval_codd.launch.devices import Slot, cpu_slots, make_slots
from lm_eval_codd.launch.dry_run import show_plan
from lm_eval_codd.launch.errors import NotStarted
from lm_eval_codd.launch.execute import Job, Outcome
from lm_eval_codd.launch.fetch import fetch, list_include_paths, needs
from lm_eval_codd.launch.jobs import Selection, prepare_folder, select
from lm_eval_codd.launch.live import say, view
from lm_eval_codd.launch.options import FLAGS, OF_EVERY_RUN, help_text
from lm_eval_codd.launch.published import LIST, permitted, show_cells, show_sources, split_papers
from lm_eval_codd.launch.schedule import StopRequest, run_all
from lm_eval_codd.launch.slurm.start import FLAGS as SLURM_FLAGS
from lm_eval_codd.launch.slurm.start import describe_array, on_slurm, read_request, slot_of_task
from lm_eval_codd.runs.estimate import from_past, read_past, stated
from lm_eval_codd.runs.flags import parse
from lm_eval_codd.runs.naming import labels
from lm_eval_codd.runs.paper import (
    GRID_MAX,
    GRID_REMARK,
    SELECT,
    approximation_remarks,
    extension_remarks,
    table_sweeps,
)
from lm_eval_codd.runs.sweep import FIXED, Sweep, is_file, parse_changes, parse_sweep, read_sweeps
from lm_eval_codd.runs.unconditional import UnconditionalRun
from lm_eval_codd.settings import unknown_value

if TYPE_CHECKING:
    from lm_eval_codd.launch.slurm.start import Request
    from lm_eval_codd.runs.run import Run

DONE, FAILED, REFUSED = 0, 1, 2
# As shells call a command that a signal ended: 128 and the number of SIGINT, of SIGTERM.
_STOPPED: Final = {"interrupted": 130, "preempted": 143}

# Executes jobs, here or elsewhere; None where that is over before they are.
Execute = Callable[[Sequence[Job], StopRequest], "dict[str, Outcome] | None"]


def main(argv: Sequence[str] | None = None, *, runner: Sequence[str] = RUNNER) -> int:
    """Run the launcher; returns its exit status.

    Args:
        argv: the command line without the program's name.
        runner: the command that executes a run, to which the run's own arguments are added.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if "-h" in argv or "--help" in argv:
        print(help_text())
        return DONE
    try:
        options = parse(argv, (*FLAGS, *SLURM_FLAGS))
        if LIST in options.get("paper", []):
            if len(options) > 1 or len(options["paper"]) > 1:
                raise ValueError(f"`--paper {LIST}` stands alone; leave the rest out")
            show_sources()
            return DONE
        is_dry = options.get("dry_run", False)
        tables, published = split_papers(options)
        texts, sweeps = options.get("run", []), _sweeps(options, tables)
        if is_dry and published.all and not (texts or sweeps or published.ready):
            show_cells(published, {})
            return DONE
        if published.all and not (texts or sweeps or published.ready):
            raise ValueError(f"`--paper {published.all[0].source}` has no cell to launch; --dry-run says why")
        if not (texts or sweeps or published.ready):
            raise ValueError("there is nothing to run; give --run, --sweep, --paper or --demo (--help says more)")
        output_dir = Path(options.get("output_dir", "results")).expanduser().resolve()
        defaults: dict[str, Any] = {name: options[name] for name in OF_EVERY_RUN if name in options}
        cells = permitted(published.ready) if is_dry else published.ready
        choose = partial(select, texts, sweeps, output_dir, defaults, cells=cells, force=options.get("force", False))
        selection = choose()
        _check_spread(options, selection)
        stall_limit = _stall_limit(options)
        request = read_request(options, stall_limit)
        slots = [] if request else _slots(options, selection)
        if options.get("commands") and not is_dry:
            raise ValueError("`--commands` shows the commands of a dry run; add --dry-run, or leave it out")
        if is_dry:
            check_folder("--output_dir", output_dir)
            for remark in _remarks(options, selection, tables):
                print(remark)
            _show_plan(options, _jobs(selection, output_dir, {}), slots, request, runner, output_dir)
            show_cells(published, selection.waiting)
            return DONE
        warning = prepare_folder(output_dir)
    except ValueError as error:
        return _refuse([str(error)])
    except NotStarted as error:
        return _refuse(error.lines)
    for remark in [*_remarks(options, selection, tables), *([warning] if warning else [])]:
        say(remark)
    show = partial(show_demo, DEMOS[options["demo"]]) if _is_demo_alone(options) else show_runs
    execute: Execute | None = partial(_on_slots, slots, runner, stall_limit)
    if request is not None:
        execute = partial(on_slurm, request, output_dir, runner)
    if options.get("prefetch"):
        execute = None
    return _launch(selection, choose, execute, output_dir, show, anew=options.get("force", False))


def _show_plan(
    options: Mapping[str, Any],
    jobs: Sequence[Job],
    slots: Sequence[Slot],
    request: Request | None,
    runner: Sequence[str],
    output_dir: Path,
) -> None:
    """What a dry run says of its jobs."""
    figure = options.get("seconds_per_forward")
    estimate = from_past(read_past(output_dir)) if figure is None else stated(figure)
    places = slots if request is None else [slot_of_task(request)]
    show_plan(jobs, places, estimate, runner, commands=options.get("commands", False))
    if request is not None and jobs:
        print(describe_array(jobs, request))


def _on_slots(
    slots: Sequence[Slot], runner: Sequence[str], stall_limit: float, jobs: Sequence[Job], stop: StopRequest
) -> dict[str, Outcome]:
    with view(jobs) as observer:
        return run_all(jobs, slots, observer, stop, runner, stall_limit=stall_limit)


def _sweeps(options: Mapping[str, Any], tables: Sequence[str]) -> list[Sweep]:
    """Everything that is swept, tables of the CoDD paper among it, with the values of `--set`."""
    selected = options.get("select", FIXED)
    if selected not in SELECT:
        raise ValueError(unknown_value("select", selected, SELECT))
    sweeps: list[Sweep] = []
    for text in options.get("sweep", []):
        sweeps += read_sweeps(Path(text).expanduser(), selected) if is_file(text) else [parse_sweep(text)]
    for table in tables:
        sweeps += table_sweeps(table, selected)
    changes = [parse_changes(text) for text in options.get("set", [])]
    if changes and not sweeps:
        raise ValueError(
            "`--set` changes a --sweep or --paper; put the values of a --run into it, and what the source of a "
            "published cell does not state into --assume"
        )
    for change in changes:
        sweeps = [sweep.updated(change) for sweep in sweeps]
    if (demo := options.get("demo")) is None:
        return sweeps
    if demo not in DEMOS:
        raise ValueError(unknown_value("demo", demo, DEMOS))
    return [*sweeps, *map(parse_sweep, DEMOS[demo].points())]


def _slots(options: Mapping[str, Any], selection: Selection) -> list[Slot]:
    # The demo alone is for the CPU, whatever GPUs there are.
    of_demo = cpu_slots(len(selection.runs)) if _is_demo_alone(options) else None
    return make_slots(
        options.get("gpus", of_demo),
        of_other_machine=options.get("dry_run", False),
        gpus_per_run=options.get("gpus_per_run", 1),
    )


def _check_spread(options: Mapping[str, Any], selection: Selection) -> None:
    """Raise `NotStarted` where a model of one device would be spread over several."""
    small = {run.model for run in selection.waiting.values() if isinstance(run, UnconditionalRun)}
    if options.get("gpus_per_run", 1) > 1 and small:
        given = f"`--gpus_per_run {options['gpus_per_run']}`"
        raise NotStarted([f"{given}: {', '.join(sorted(small))} take one GPU each; start these runs without it"])


def _stall_limit(options: Mapping[str, Any]) -> float:
    """In seconds."""
    minutes = options.get("stall_limit", math.inf)
    if not minutes > 0:
        raise ValueError(f"`--stall_limit {minutes:g}` must be above 0 minutes; leave it out for no limit")
    return 60.0 * minutes


def _is_demo_alone(options: Mapping[str, Any]) -> bool:
    return "demo" in options and not any(name in options for name in ("run", "sweep", "paper"))


def _remarks(options: Mapping[str, Any], selection: Selection, tables: Sequence[str]) -> list[str]:
    grid = [GRID_REMARK] if options.get("select") == GRID_MAX else []
    runs = selection.runs.values() if tables else []
    return [*selection.remarks, *grid, *approximation_remarks(runs), *extension_remarks(runs)]


def _launch(
    selection: Selection,
    choose: Callable[[], Selection],
    execute: Execute | None,
    output_dir: Path,
    show: Callable[[Iterable[str], Path], None],
    *,
    anew: bool,
) -> int:
    outcomes: dict[str, Outcome] = {}
    with StopRequest().listening() as stop:
        try:
            revisions = _fetch(selection.waiting, stop)
            if revisions and not stop:
                # Once more with what was fetched: only now can its files be looked at, and whether it has a template.
                selection = choose()
        except NotStarted as error:
            return _refuse(error.lines)
        waiting = selection.waiting
        if execute is None:
            what = "1 run needs" if len(waiting) == 1 else f"{len(waiting)} runs need"
            say(stop.status if stop else f"everything that {what} is on this machine")
            return _STOPPED[stop.status] if stop else DONE
        if waiting and not stop:
            try:
                found = execute(_jobs(selection, output_dir, revisions, anew=anew), stop)
            except ValueError as error:
                return _refuse([str(error)])
            if found is None:
                return DONE
            outcomes = found
    show(selection.runs, output_dir)
    unfinished = [name for name in waiting if name not in outcomes or outcomes[name].status in _STOPPED]
    if unfinished:
        # A run may also have been preempted alone.
        status = stop.status if stop else "preempted"
        say(f"{status}; not finished: {', '.join(unfinished)}; the same command goes on")
        return _STOPPED[status]
    failed = {name: outcome.reason for name, outcome in outcomes.items() if outcome.status == "failed"}
    if failed:
        by_reason = {reason: [name for name in failed if failed[name] == reason] for reason in failed.values()}
        told = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())
        say(f"{len(failed)} of {len(waiting)} runs failed: {told}")
    return FAILED if failed else DONE


def _fetch(waiting: Mapping[str, Run], stop: StopRequest) -> dict[str, str]:
    wanted = needs(waiting)
    items = [*wanted["models"], *wanted["tasks"]]
    if items:
        # Behind a task's name there are the arguments that it is loaded with.
        say(f"fetching {', '.join(dict.fromkeys(item.partition(' ')[0] for item in items))}")
    fetched = fetch(wanted, stop, include_paths=list_include_paths(waiting.values()))
    if not fetched.hub_is_reachable:
        say("the hub cannot be reached: going on with what its cache has")
        os.environ["HF_HUB_OFFLINE"] = "1"  # for the runs, which would each try again
    return fetched.revisions


def _jobs(selection: Selection, output_dir: Path, revisions: Mapping[str, str], *, anew: bool = False) -> list[Job]:
    jobs = []
    short = labels({name: run for name, run in selection.runs.items() if name not in selection.finished})
    for name, run in selection.runs.items():
        if name not in selection.finished:
            own = {source: revisions[source] for source in run.sources.values() if source in revisions}
            published = selection.published.get(name, {})
            jobs.append(Job(run, name, output_dir / name, own, anew, short[name], published=published))
    return jobs


def _refuse(lines: Iterable[str]) -> int:
    for line in lines:
        print(f"lm-eval-codd launch: {line}", file=sys.stderr)
    return REFUSED
