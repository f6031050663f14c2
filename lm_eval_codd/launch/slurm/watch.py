"""`--wait`: the array seen from where it was submitted, as if its runs were going there."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lm_eval_codd.launch.devices import Slot
from lm_eval_codd.launch.execute import LOG_LINES, Job, Outcome
from lm_eval_codd.launch.live import Lines, say
from lm_eval_codd.launch.slurm import queue
from lm_eval_codd.launch.slurm.events import Ended, Held, Reader, Started
from lm_eval_codd.launch.slurm.parts import Part, merging

if TYPE_CHECKING:
    from lm_eval_codd.launch.schedule import StopRequest
    from lm_eval_codd.launch.slurm.plan import Plan

# Slurm is asked often at first, when a test or a small array may be through, and seldom in the long run.
_SHORTEST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
_SHARE_OF_TIME: Final = 0.02
_STEP: Final = 0.1
# Times that a task must be missing before it counts as over: its last lines may take a moment to get here.
_TIMES_MISSING: Final = 2
# How a run ends that its task has no more time for: it goes on after a requeue.
STOPPED: Final = ("interrupted", "preempted")
_LOG_BYTES: Final = 8192

Ask = Callable[[], "queue.States | None"]


@dataclass(frozen=True)
class Remote:
    """A run under way on a node, as views know one here."""

    job: Job
    slot: Slot
    goes_on: bool

    def silence(self) -> float:
        """Not known from here."""
        return 0.0


@dataclass
class Followed:
    """A task of an array, and what is known of it."""

    plan: Plan
    index: int
    jobs: dict[str, Job]
    reader: Reader
    times_missing: int = 0
    has_begun: bool = False
    is_over: bool = False
    running: dict[str, Remote] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"task {self.plan.job}_{self.index}"


class Following:
    """Tasks of arrays until the last one is over.

    Args:
        tasks: of arrays that were submitted.
        view: shows what happens; made from all jobs.
        ask: what the queue holds.

    Attributes:
        outcomes: of the runs that are over, by name.
    """

    def __init__(self, tasks: Sequence[Followed], view: Lines, ask: Ask = queue.states) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._tasks, self._view, self._ask = tasks, view, ask
        self._is_silent = False

    def until_over(self, stop: StopRequest) -> None:
        """Show what the tasks do until all of them are over, or `stop` is set."""
        start = time.monotonic()
        while not stop:
            self.look()
            if all(task.is_over for task in self._tasks):
                return
            pause = (time.monotonic() - start) * _SHARE_OF_TIME
            _wait(min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, pause)), stop)

    def look(self) -> None:
        """Read once what is new of every task that is not over."""
        states = self._ask()
        if states is None and not self._is_silent:
            say("Slurm does not answer; asking again")
        self._is_silent = states is None
        for task in self._tasks:
            if task.is_over:
                continue
            state = None if states is None else states.get(str(task.plan.job), {}).get(task.index)
            if state is None or not queue.is_waiting(state) or task.running:
                for event in task.reader.read():
                    self._take(task, event)
            if states is not None:
                self._place(task, state)
        self._view.look([remote for task in self._tasks for remote in task.running.values()])  # type: ignore[misc]

    def _place(self, task: Followed, state: str | None) -> None:
        """What the queue says of a task: nothing, again and again, once it is over."""
        task.times_missing = 0 if state is not None else task.times_missing + 1
        if task.times_missing >= _TIMES_MISSING:
            self._end(task)
        elif state is not None and queue.is_waiting(state) and task.running:
            say(f"requeued {task}: goes on with {', '.join(str(one.job) for one in task.running.values())} later")
            task.running.clear()

    def _take(self, task: Followed, event: Started | Ended | Held) -> None:
        task.has_begun = True
        job = task.jobs.get(event.name)
        if job is None:
            return
        if isinstance(event, Started):
            remote = Remote(job, Slot(f"{task} ({event.slot})", ""), event.goes_on)
            task.running[event.name] = remote
            self._view.started(remote)  # type: ignore[arg-type]
        elif isinstance(event, Held):
            say(f"waiting  {job} in {task}: held by {event.holder}")
        else:
            task.running.pop(event.name, None)
            if event.outcome.status in STOPPED:
                say(f"stopped  {job} in {task} after {event.outcome.seconds:.0f} s")
            elif event.name not in self.outcomes:
                self._view.ended(job, event.outcome)
            self.outcomes[event.name] = event.outcome

    def _end(self, task: Followed) -> None:
        """A task has left the queue: what it has not ended, it never will."""
        task.is_over = True
        task.running.clear()
        left = [name for name, job in task.jobs.items() if job.weight == 1.0 and not self._is_through(name)]
        if not left:
            return
        state = queue.ended_as(str(task.plan.job), task.index)
        if state is None:
            # Of one that never began Slurm keeps no record; nothing but scancel takes it out of the queue.
            state = "is gone from the queue" if task.has_begun else "CANCELLED before it began"
        was_stopped = state.startswith(("CANCELLED", "PREEMPTED"))
        outcome = Outcome("interrupted" if was_stopped else "failed", 0.0, f"{task}: {state}", _last_lines(task))
        for name in left:
            self.outcomes[name] = outcome
            self._view.ended(task.jobs[name], outcome)

    def _is_through(self, name: str) -> bool:
        return name in self.outcomes and self.outcomes[name].status not in STOPPED


def tasks_of(plan: Plan, indices: Collection[int] | None = None) -> Iterator[Followed]:
    """The tasks of a plan, or some of them, none of them looked at yet."""
    for index, parts in enumerate(plan.tasks()):
        if indices is None or index in indices:
            yield Followed(plan, index, _jobs(parts), Reader(plan.events(index)))


def all_jobs(tasks: Sequence[Followed]) -> list[Job]:
    """Every job of some tasks, each once."""
    return list({name: job for task in tasks for name, job in task.jobs.items()}.values())


def _jobs(parts: Sequence[Part]) -> dict[str, Job]:
    """What a task may execute: its parts, and the ends of the runs that they are shards of."""
    jobs = {part.work.name: part.work for part in parts}
    return jobs | {part.job.name: merging(part.job) for part in parts if part.of > 1}


def _last_lines(task: Followed) -> tuple[str, ...]:
    """Of what Slurm has kept of a task's output."""
    name = f"{task.plan.job}_{task.index}"
    folders = (task.plan.folder, task.plan.folder / "submitit")
    for path in (path for folder in folders for path in sorted(folder.glob(f"{name}[_.]*"))):
        if path.suffix in (".log", ".out"):
            return _tail(path)
    return ()


def _tail(path: Path) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    return tuple([line for line in text.splitlines() if line.strip()][-LOG_LINES:])


def _wait(seconds: float, stop: StopRequest) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stop:
        time.sleep(_STEP)
