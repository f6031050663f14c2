"""Runs on slots: the longest first, one a slot, the next as a slot frees."""

from __future__ import annotations

import heapq
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from lm_eval_codd.launch import lock, record
from lm_eval_codd.launch.command import RUNNER
from lm_eval_codd.launch.execute import Execution, Job, Outcome

if TYPE_CHECKING:
    from lm_eval_codd.launch.devices import Slot

_POLL_SECONDS: Final = 0.05
_GRACE_SECONDS: Final = 10.0
_HELD_SECONDS: Final = 1.0


class Observer(Protocol):
    """Is told what happens to the runs, in the order in which it happens."""

    def started(self, execution: Execution) -> None:
        """A run was started on a slot."""

    def ended(self, job: Job, outcome: Outcome) -> None:
        """A run has finished, failed or was interrupted."""

    def held(self, job: Job, holder: lock.Holder) -> None:
        """A run waits, because someone else is at work on it. Told once a run."""

    def look(self, executions: Sequence[Execution]) -> None:
        """Nothing has happened; these runs are under way. Told many times a second."""


class StopRequest:
    """Signals that ask the launcher to stop. They are counted, and acted on between two steps of its work."""

    def __init__(self) -> None:
        self.count = 0

    def __bool__(self) -> bool:
        return self.count > 0

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Listen to Ctrl-C, SIGTERM and a closed terminal, except those that the caller has set to be ignored."""
        numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        before = {number: signal.getsignal(number) for number in numbers}
        listened = [number for number in numbers if before[number] is not signal.SIG_IGN]
        for number in listened:
            signal.signal(number, self._count)
        try:
            yield self
        finally:
            for number in listened:
                signal.signal(number, before[number])

    def _count(self, *_: object) -> None:
        self.count += 1


def longest_first(jobs: Sequence[Job]) -> list[Job]:
    """The order in which jobs are started."""
    return sorted(jobs, key=lambda job: -job.run.cost)


def plan(jobs: Sequence[Job], slots: Sequence[Slot]) -> list[tuple[Job, Slot]]:
    """Each job with the slot that it will get if runs take as long as estimated, in starting order."""
    free = [(0.0, index) for index in range(len(slots))]
    planned = []
    for job in longest_first(jobs):
        when, index = heapq.heappop(free)
        planned.append((job, slots[index]))
        heapq.heappush(free, (when + job.run.cost, index))
    return planned


def run_all(
    jobs: Sequence[Job],
    slots: Sequence[Slot],
    observer: Observer,
    stop: StopRequest,
    runner: Sequence[str] = RUNNER,
) -> dict[str, Outcome]:
    """Execute all jobs; returns the outcome of each job that was started, by name.

    A failed run does not hold up the others, nor does one that another launcher is at work on: it is looked at again
    when a slot is free, and not repeated once it is finished. When `stop` is set nothing more is started and what runs
    is ended: its process group gets SIGTERM, and SIGKILL after ten seconds or at the second request.
    """
    waiting = longest_first(jobs)
    free = list(slots)
    running: list[Execution] = []
    held: dict[str, Job] = {}
    told: set[str] = set()
    outcomes: dict[str, Outcome] = {}
    next_try = 0.0

    def end(job: Job, outcome: Outcome) -> None:
        outcomes[job.name] = outcome
        observer.ended(job, outcome)

    def close(execution: Execution, *, interrupted: bool = False) -> None:
        running.remove(execution)
        free.append(execution.slot)
        end(execution.job, execution.close(interrupted=interrupted))

    def start(job: Job) -> None:
        try:
            taken = lock.take(job.folder, record.now())
            if isinstance(taken, lock.Holder):
                held[job.name] = job
                if job.name not in told:
                    told.add(job.name)
                    observer.held(job, taken)
                return
            held.pop(job.name, None)
            if not job.anew and record.finished(job.folder, job.run):
                taken.release()
                end(job, Outcome("finished", 0.0, "by another launcher"))
                return
            try:
                execution = Execution(job, free[0], taken, tuple(runner))
            except BaseException:
                taken.release()
                raise
        except OSError as error:
            held.pop(job.name, None)
            end(job, Outcome("failed", 0.0, f"cannot be started: {error}"))
        else:
            free.remove(execution.slot)
            running.append(execution)
            observer.started(execution)

    try:
        while (waiting or held or running) and not stop:
            if held and free and time.monotonic() >= next_try:
                others = [job for job in waiting if job.name not in held]
                waiting = [*longest_first(list(held.values())), *others]
                next_try = time.monotonic() + _HELD_SECONDS
            while waiting and free and not stop:
                start(waiting.pop(0))
            for execution in [execution for execution in running if execution.has_ended()]:
                close(execution)
            if running or held:
                observer.look(running)
                time.sleep(_POLL_SECONDS)
    finally:
        ended = [execution for execution in running if execution.has_ended()]
        going = [execution for execution in running if execution not in ended]
        # The last one in is the first to go, and all of them go: also when nobody reads what the observer prints.
        with ExitStack() as closing:
            for execution in going:
                closing.callback(close, execution, interrupted=True)
            closing.callback(_stop_children, going, stop)
            for execution in ended:
                closing.callback(close, execution)
    return outcomes


def _stop_children(running: Sequence[Execution], stop: StopRequest) -> None:
    for execution in running:
        execution.signal(signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    while not all(execution.has_ended() for execution in running):
        if time.monotonic() > deadline or stop.count > 1:
            for execution in running:
                execution.signal(signal.SIGKILL)
        time.sleep(_POLL_SECONDS)
