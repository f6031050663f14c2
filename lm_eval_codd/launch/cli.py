"""The launcher's command line: what `./eval.sh` runs."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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
from lm_eval_codd.launch.published import LIST, permitted, show_cells, show_sources, split_papers
from lm_eval_codd.launch.schedule import StopRequest, run_all
from lm_eval_codd.launch.slurm.start import FLAGS as SLURM_FLAGS
from lm_eval_codd.launch.slurm.start import describe_array, on_slurm, read_request, slot_of_task
from lm_eval_codd.outputs import check_folder
from lm_eval_codd.runs.estimate import from_past, read_past, stated
from lm_eval_codd.runs.flags import Flag, format_help, parse
from lm_eval_codd.runs.naming import labels
from lm_eval_codd.runs.paper import (
    GRID_MAX,
    GRID_REMARK,
    SELECT,
    approximation_remarks,
    extension_remarks,
    table_sweeps,
)
from lm_eval_codd.runs.run_flags import GROUPS
from lm_eval_codd.runs.sweep import FIXED, Sweep, is_file, parse_changes, parse_sweep, read_sweeps
from lm_eval_codd.settings import unknown_value

if TYPE_CHECKING:
    from lm_eval_codd.runs.run import Run

DONE, FAILED, REFUSED = 0, 1, 2
# As shells call a command that a signal ended: 128 and the number of SIGINT, of SIGTERM.
_STOPPED: Final = {"interrupted": 130, "preempted": 143}

# Executes jobs, here or elsewhere; None where that is over before they are.
Execute = Callable[[Sequence[Job], StopRequest], "dict[str, Outcome] | None"]

FLAGS: Final = (
    Flag("run", "str", "the flags of one run, in quotes; as often as there are runs", repeat=True),
    Flag("sweep", "str", "lists of values, in quotes, or a YAML file of them: the runs of their product", repeat=True),
    Flag(
        "paper",
        "str",
        "the cells of a table of the CoDD paper, table1 to table6; SOURCE or SOURCE:CELL,... for published cells of "
        "another source; list shows the sources",
        repeat=True,
    ),
    Flag("assume", "str", "name=value,... for what the source of a published cell does not state", repeat=True),
    Flag(
        "select",
        "str",
        "of --paper and sweep files: one setting of the circuit, or the whole grid that the paper took the best of",
        default=FIXED,
        choices=SELECT,
    ),
    Flag("set", "str", "values for every --sweep and --paper, in their words, in place of what they say", repeat=True),
    Flag(
        "demo",
        "str",
        "evaluate a small checkpoint of the package and its circuit on the CPU, without a download: on word problems, "
        "at 2 to 32 steps and by every decoder, or on tasks of dependent tokens",
        choices=tuple(DEMOS),
        alone="words",
    ),
    Flag("gpus", "str", "slots, one run each at a time: GPU ids, or cpu", default="all GPUs, else cpu"),
    Flag("gpus_per_run", "int", "GPUs of a slot, over which a checkpoint too large for one is spread", default="1"),
    Flag("output_dir", "str", "where every run gets its folder", default="results"),
    Flag("tag", "str", "a word for the name of every run that has no tag of its own"),
    Flag("limit", "float", "first N documents, or a share below 1, for every run that sets none of its own"),
    Flag("include_path", "str", "a folder with task files of your own, for every run"),
    Flag("confirm_run_unsafe_code", "bool", "let tasks of lm-eval execute programs that the model has written"),
    Flag("force", "bool", "run finished runs again, from the start; what is there is kept beside the new results"),
    Flag(
        "stall_limit",
        "float",
        "minutes without a new line in its log and without progress, after which a run is ended and tried once more",
        default="none",
    ),
    Flag(
        "dry-run", "bool", "check everything, list the runs and their cost, and start nothing; for other machines too"
    ),
    Flag("commands", "bool", "with --dry-run: the command of each run as well"),
    Flag(
        "seconds_per_forward",
        "float",
        "what a forward pass for one row takes, for the cost",
        default="as finished runs in OUTPUT_DIR",
    ),
    Flag("help", "bool", "show this help"),
)

# Flags of a run that are taken here too, for all runs that do not say otherwise.
_OF_EVERY_RUN: Final = ("limit", "tag", "include_path", "confirm_run_unsafe_code")

_USAGE: Final = """\
Evaluate diffusion language models, several runs at a time.

  ./eval.sh --demo
  ./eval.sh --gpus 0,1 --run '--model_alias llada --task gsm8k --num_steps 128' \\
                       --run '--model_alias dream --task math500 --alg entropy --num_steps 256'
  ./eval.sh --gpus 0,1 --sweep 'model_alias=llada task=math500,gsm8k alg=low_confidence,margin num_steps=256,128,64
                                pc_ckpt=none,il18/llada-math-pc pc_ckpt@gsm8k=none,il18/llada-gsm-pc pc_frac=0.3,0.5'
  ./eval.sh --gpus 0,1 --run '--model_alias duo --dit_ckpt s-sahoo/duo --tokenizer gpt2 --task dlm_ppl_wikitext2'
  ./eval.sh --gpus 0,1 --paper table1 --dry-run
  ./eval.sh --paper list
  ./eval.sh --gpus 0,1 --paper 'llada:llada-base.gsm8k.*' --dry-run
  ./eval.sh --slurm 'partition=gpu gpus_per_node=1 time=04:00:00' --array_parallelism 20 --paper table1 --wait
  ./eval.sh --gpus cpu,cpu --limit 8 --run '--model_alias llada --llada_ckpt "/models/my llada" --task mbpp'

A sweep is the product of its lists; key@task=... is the list of one task, in place of the others'. Runs that are
provably the same are done once. All runs are checked before the first one starts. The longest start first. Each writes
OUTPUT_DIR/NAME/ with lm-eval's results_*.json and samples_*.jsonl, log.txt, run.json with everything resolved, and a
journal of its answers. The same command, given again, skips what is finished and goes on with the rest. Exit status:
0, 1 when a run failed, 2 when nothing was started, 130 when interrupted, 143 when preempted (SIGTERM).

Other commands, each with --help:
  ./eval.sh report | check | inspect | train-circuit | convert-circuit | trace | tasks | run
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
        defaults: dict[str, Any] = {name: options[name] for name in _OF_EVERY_RUN if name in options}
        cells = permitted(published.ready) if is_dry else published.ready
        choose = partial(select, texts, sweeps, output_dir, defaults, cells=cells, force=options.get("force", False))
        selection = choose()
        stall_limit = _stall_limit(options)
        request = read_request(options, stall_limit)
        slots = [] if request else _slots(options, selection)
        if options.get("commands") and not is_dry:
            raise ValueError("`--commands` shows the commands of a dry run; add --dry-run, or leave it out")
        if is_dry:
            check_folder("--output_dir", output_dir)
            figure = options.get("seconds_per_forward")
            estimate = from_past(read_past(output_dir)) if figure is None else stated(figure)
            for remark in _remarks(options, selection, tables):
                print(remark)
            commands, jobs = options.get("commands", False), _jobs(selection, output_dir, {})
            places = slots if request is None else [slot_of_task(request)]
            show_plan(jobs, places, estimate, runner, commands=commands)
            if request is not None and jobs:
                print(describe_array(jobs, request))
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


def _help() -> str:
    return f"{_USAGE}\n{format_help({'command': FLAGS, 'more than one machine': SLURM_FLAGS, **GROUPS})}"


def _refuse(lines: Iterable[str]) -> int:
    for line in lines:
        print(f"lm-eval-codd launch: {line}", file=sys.stderr)
    return REFUSED
