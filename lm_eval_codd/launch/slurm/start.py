"""From checked runs to an array in the queue, and to its end where that is waited for."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.launch.devices import Slot
from lm_eval_codd.launch.live import say, view
from lm_eval_codd.launch.slurm import plan as plans
from lm_eval_codd.launch.slurm import queue
from lm_eval_codd.launch.slurm.options import Cluster, parse_cluster
from lm_eval_codd.launch.slurm.parts import Part, of_run, set_aside, split
from lm_eval_codd.launch.slurm.script import as_script
from lm_eval_codd.launch.slurm.submit import MakeExecutor, make_executor, submit
from lm_eval_codd.launch.slurm.watch import Followed, Following, all_jobs, tasks_of
from lm_eval_codd.runs.flags import Flag
from lm_eval_codd.terminal.invocation import command, shown_path

if TYPE_CHECKING:
    from lm_eval_codd.launch.execute import Job, Outcome
    from lm_eval_codd.launch.schedule import StopRequest

FLAGS: Final = (
    Flag(
        "slurm",
        "str",
        "what each task asks for, options of sbatch in quotes: 'partition=gpu gpus_per_node=1 time=04:00:00'; the runs "
        "go into one job array in place of slots here",
    ),
    Flag("array_parallelism", "int", "tasks of the array that run at a time", default="as many as Slurm lets run"),
    Flag("runs_per_task", "int", "runs that a task executes", default="1, or as MaxArraySize needs"),
    Flag("shards", "int", "split each run by documents into so many parts, which tasks execute side by side"),
    Flag("wait", "bool", "show the array's runs as those of slots here, until the last one ends"),
    Flag("print_sbatch", "bool", "write a script for sbatch in place of submitting, for sites without submitit"),
    Flag("prefetch", "bool", "fetch checkpoints, circuits and rows, and start nothing"),
)
_OF_SLURM: Final = ("array_parallelism", "runs_per_task", "shards", "wait", "print_sbatch")
_MOST_TASKS: Final = 1001  # MaxArraySize where nobody has set it


@dataclass(frozen=True)
class Request:
    """What the command line asks of the cluster, checked."""

    cluster: Cluster
    parallelism: int | None = None
    runs_per_task: int | None = None
    shards: int = 1
    gpus_per_run: int = 1
    stall_limit: float = math.inf
    waits: bool = False
    prints: bool = False


def read_request(options: Mapping[str, Any], stall_limit: float = math.inf) -> Request | None:
    """The request, None without `--slurm`. Raises `ValueError`, one line, for what does not go together.

    Args:
        options: flags of the launcher.
        stall_limit: seconds without a sign of life, after which a run is ended.
    """
    if "slurm" not in options:
        given = [name for name in _OF_SLURM if name in options]
        if given:
            raise ValueError(f"`--{given[0]}` is read with --slurm; add that, or leave it out")
        return None
    if "gpus" in options:
        raise ValueError("`--gpus` is of this machine; with --slurm say gpus_per_node=, and leave it out")
    if "stall_limit" in options:
        raise ValueError("`--stall_limit` is of runs on this machine; with --slurm time= limits a task: leave it out")
    for name in ("array_parallelism", "runs_per_task", "shards"):
        if options.get(name, 1) < 1:
            raise ValueError(f"`--{name} {options[name]}` must be 1 or more")
    cluster = parse_cluster(options["slurm"])
    gpus_per_run = options.get("gpus_per_run", 1)
    if gpus_per_run > 1 and not cluster.has_gpus:
        raise ValueError(f"`--gpus_per_run {gpus_per_run}`: --slurm asks for no GPUs; add gpus_per_node={gpus_per_run}")
    return Request(
        cluster,
        options.get("array_parallelism"),
        options.get("runs_per_task"),
        options.get("shards", 1),
        gpus_per_run,
        stall_limit,
        options.get("wait", False),
        options.get("print_sbatch", False),
    )


class Arrays:
    """The arrays of an output folder that are in the queue already.

    Args:
        output_dir: where every run has its folder.
        states: the queue; None where Slurm does not answer, or there is none.
    """

    def __init__(self, output_dir: Path, states: queue.States | None) -> None:
        self.plans = [plan for plan in plans.read_all(output_dir) if states and plan.job in states]
        self._states = states or {}

    def indices(self, plan: plans.Plan) -> frozenset[int]:
        """The tasks of a plan that are in the queue."""
        return frozenset(self._states[str(plan.job)])

    def names(self) -> dict[str, str]:
        """The runs that a task in the queue has to do, with the array's number."""
        return {
            part.job.name: str(plan.job)
            for plan in self.plans
            for index, parts in enumerate(plan.tasks())
            if index in self.indices(plan)
            for part in parts
        }


def pack(jobs: Sequence[Job], request: Request, most_tasks: int) -> list[list[Part]]:
    """The tasks of the array.

    Raises:
        ValueError: one line: Slurm takes no array of so many.
    """
    parts = split(jobs, request.shards)
    fewest = max(1, -(-len(parts) // most_tasks))
    per_task = request.runs_per_task or fewest
    if per_task < fewest:
        raise ValueError(
            f"`--runs_per_task {per_task}` makes {-(-len(parts) // per_task)} tasks of {len(parts)} runs, and Slurm "
            f"takes {most_tasks} here (MaxArraySize); use {fewest} or more"
        )
    return plans.pack(parts, per_task)


def slot_of_task(request: Request) -> Slot:
    """What a task has, for estimates."""
    return Slot(
        "the tasks of an array", "cuda:0" if request.cluster.has_gpus else "cpu", is_spread=request.gpus_per_run > 1
    )


def describe_array(jobs: Sequence[Job], request: Request) -> str:
    """What would be submitted, in one line."""
    tasks = pack(jobs, request, queue.max_array_size() or _MOST_TASKS)
    each = max(map(len, tasks))
    kind = "run" if request.shards == 1 else "shard"
    at_a_time = f", {request.parallelism} at a time" if request.parallelism else ""
    limit = f"{request.cluster.minutes} min each before it is requeued"
    return f"array: {_count(len(tasks), 'task')} of up to {_count(each, kind)}{at_a_time}, {limit}"


def on_slurm(
    request: Request,
    output_dir: Path,
    runner: Sequence[str],
    jobs: Sequence[Job],
    stop: StopRequest,
    executor_for: MakeExecutor = make_executor,
) -> dict[str, Outcome] | None:
    """Execute jobs as an array: those that no array in the queue has to do already.

    Returns:
        The outcomes by name where the array is waited for, else None.

    Raises:
        ValueError: one line: it cannot be submitted.
    """
    arrays = Arrays(output_dir, queue.states())
    queued = arrays.names()
    fresh = [job for job in jobs if job.name not in queued]
    if len(fresh) < len(jobs):
        numbers = ", ".join(dict.fromkeys(queued[job.name] for job in jobs if job.name in queued))
        say(f"{_count(len(jobs) - len(fresh), 'run')} in the queue already (job {numbers}), not submitted again")
    wanted = {queued.get(job.name) for job in jobs}
    tasks = [task for plan in arrays.plans if plan.job in wanted for task in tasks_of(plan, arrays.indices(plan))]
    if fresh:
        plan = start(fresh, request, output_dir, runner, executor_for)
        tasks += [] if request.prints else tasks_of(plan)
    if not request.waits or request.prints:
        return None
    return follow(tasks, stop)


def start(
    jobs: Sequence[Job],
    request: Request,
    output_dir: Path,
    runner: Sequence[str],
    executor_for: MakeExecutor = make_executor,
) -> plans.Plan:
    """Submit the jobs as one array, or print the script that does; says what was done.

    Raises:
        ValueError: one line: it cannot be submitted. Nothing is in the queue then.
    """
    most_tasks = queue.max_array_size() or _MOST_TASKS
    tasks = pack(jobs, request, most_tasks)
    for job in jobs:
        if job.anew:
            set_aside(job)
    about = plans.About(tuple(runner), request.cluster.has_gpus, request.gpus_per_run, request.stall_limit)
    plan = plans.write(output_dir, tasks, about)
    number = f"{_count(len(jobs), 'run')} in {_count(len(tasks), 'task')} of an array"
    if request.prints:
        script = plan.folder / "array.sh"
        script.write_text(as_script(plan, len(tasks), request.cluster, request.parallelism), encoding="utf-8")
        print(script.read_text(encoding="utf-8"))
        say(f"{number}, not submitted; add your lines to it, and: sbatch {shown_path(script)}")
        return plan
    try:
        array = submit(plan, len(tasks), request.cluster, request.parallelism, executor_for)
    except BaseException:
        shutil.rmtree(plan.folder, ignore_errors=True)
        raise
    say(f"submitted job {array}: {number}")
    if not request.waits:
        say(f"its logs: {plan.folder / 'submitit'}; its queue: squeue --job {array}; its end: scancel {array}")
        say(f"what is finished so far: {command()} report {shown_path(output_dir)}")
    return plan


def follow(tasks: Sequence[Followed], stop: StopRequest) -> dict[str, Outcome]:
    """Show the runs of some tasks until all are over, or `stop` is set; returns the outcomes by name."""
    with view(all_jobs(tasks)) as lines:
        following = Following(tasks, lines)
        following.until_over(stop)
    if stop:
        arrays = " ".join(dict.fromkeys(str(task.plan.job) for task in tasks))
        say(f"the array goes on without this view; the same command shows it again, and scancel {arrays} ends it")
    return _of_runs(following.outcomes)


def _of_runs(outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """The outcomes by run: of one whose shards did not all finish, the worst of theirs."""
    found: dict[str, Outcome] = {}
    for name, outcome in outcomes.items():
        run = of_run(name)
        if name != run and outcome.status != "finished" and (run not in found or outcome.status == "failed"):
            found[run] = outcome
    return found | {name: outcome for name, outcome in outcomes.items() if name == of_run(name)}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
