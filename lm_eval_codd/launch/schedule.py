"""Runs on slots: the longest first, one a slot, the next as a slot frees."""

from __future__ import annotations

import heapq
import math
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from lm_eval_codd.files.disk import explained
from lm_eval_codd.launch import lock
from lm_eval_codd.launch.command import RUNNER
from lm_eval_codd.launch.execute import Execution, Job, Outcome
from lm_eval_codd.runs import record

if TYPE_CHECKING:
    from lm_eval_codd.launch.devices import Slot
    from lm_eval_codd.launch.pulse import Clock

_POLL_SECONDS: Final = 0.05
# Clusters give 30 s between SIGTERM and SIGKILL: what is left of them is for the records.
_GRACE_SECONDS: Final = 20.0
_HELD_SECONDS: Final = 1.0


class Observer(Protocol):
    """Is told what happens to the runs, in the order in which it happens."""

    def started(self, execution: Execution) -> None:
        """A run was started on a slot."""

    def ended(self, job: Job, outcome: Outcome) -> None:
        """A run has finished, failed, or was interrupted or preempted."""

    def stalled(self, job: Job, outcome: Outcome) -> None:
        """A run was ended because it showed no sign of life, and is tried once more."""

    def held(self, job: Job, holder: lock.Holder) -> None:
        """A run waits, because someone else is at work on it. Told once a run."""

    def look(self, executions: Sequence[Execution]) -> None:
        """Nothing has happened; these runs are under way. Told many times a second."""


class StopRequest:
    """Signals that ask the launcher to stop. They are counted, and acted on between two steps of its work.

    Attributes:
        count: how many came.
        status: of the runs that are stopped: `preempted` where SIGTERM came first, as clusters send it, else
            `interrupted`.
    """

    def __init__(self) -> None:
        self.count = 0
        self.status = "interrupted"

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

    def _count(self, number: int, _: object) -> None:
        if not self.count and number == signal.SIGTERM:
            self.status = "preempted"
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
    *,
    stall_limit: float = math.inf,
    clock: Clock = time.monotonic,
) -> dict[str, Outcome]:
    """Execute all jobs; returns the outcome of each job that was started, by name.

    A failed run does not hold up the others, nor does one that another launcher is at work on: it is looked at again
    when a slot is free, and not repeated once it is finished. When `stop` is set nothing more is started and what runs
    is ended: its process group gets SIGTERM, and SIGKILL after twenty seconds or at the second request.

    A run that shows no sign of life for `stall_limit` seconds of `clock` is ended and tried once more.
    """
    work = _Work(jobs, slots, observer, tuple(runner), stall_limit, clock)
    try:
        while work.is_left and not stop:
            work.start_what_fits(stop)
            work.close_what_ended()
            work.end_what_stalled()
            work.wait()
    finally:
        work.end(stop)
    return work.outcomes


class _Work:
    """Jobs on their way: each waits, is held by another launcher, runs on a slot, or is over.

    Args:
        jobs: all of them, to begin with waiting.
        slots: one run each at a time.
        observer: is told what happens.
        runner: the command that executes a run.
        stall_limit: seconds of `clock` without a sign of life, after which a run is ended.

    Attributes:
        outcomes: of the jobs that are over, by name.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        slots: Sequence[Slot],
        observer: Observer,
        runner: tuple[str, ...],
        stall_limit: float,
        clock: Clock,
    ) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._observer = observer
        self._runner, self._stall_limit, self._clock = runner, stall_limit, clock
        self._waiting = deque(longest_first(jobs))
        self._held: list[Job] = []
        self._told: set[str] = set()
        self._next_try = 0.0
        self._running: list[Execution] = []
        self._free = list(slots)

    @property
    def is_left(self) -> bool:
        """Whether any job is not over."""
        return bool(self._waiting or self._held or self._running)

    def start_what_fits(self, stop: StopRequest) -> None:
        """Give every free slot a job, the longest first; held ones go before the others each time they are tried."""
        if self._held and self._free and time.monotonic() >= self._next_try:
            self._waiting.extendleft(reversed(longest_first(self._held)))
            self._held.clear()
            self._next_try = time.monotonic() + _HELD_SECONDS
        while self._waiting and self._free and not stop:
            self._start(self._waiting.popleft())

    def close_what_ended(self) -> None:
        """Take the outcomes of runs that have ended, and their slots."""
        for execution in [execution for execution in self._running if execution.has_ended()]:
            self._close(execution)

    def end_what_stalled(self) -> None:
        """End runs that show no sign of life any more; they are closed once they are gone."""
        for execution in self._running:
            execution.end_if_silent(self._stall_limit)

    def wait(self) -> None:
        """Let the observer look at what is under way, and a moment pass; at once where nothing is."""
        if self._running or self._held:
            self._observer.look(self._running)
            time.sleep(_POLL_SECONDS)

    def end(self, stop: StopRequest) -> None:
        """Close what has ended, then end what is running; also when nobody reads what the observer prints."""
        ended = [execution for execution in self._running if execution.has_ended()]
        going = [execution for execution in self._running if execution not in ended]
        # The last one in is the first to go, and all of them go.
        with ExitStack() as closing:
            for execution in going:
                closing.callback(self._close, execution, stopped_as=stop.status)
            closing.callback(_stop_children, going, stop)
            for execution in ended:
                closing.callback(self._close, execution)

    def _start(self, job: Job) -> None:
        """Start a job on the first free slot, unless someone else has its folder, or has finished it."""
        try:
            found = self._open(job)
        except OSError as error:
            why = f"{error.filename or job.folder}: {explained(error, job.folder)}"
            self._finish(job, Outcome("failed", 0.0, f"cannot be started: {why}"))
            return
        except ValueError as error:
            self._finish(job, Outcome("failed", 0.0, f"cannot be started: {error}"))
            return
        if isinstance(found, Execution):
            self._free.remove(found.slot)
            self._running.append(found)
            self._observer.started(found)
        elif isinstance(found, lock.Holder):
            self._hold(job, found)
        else:
            self._finish(job, Outcome("finished", 0.0, "by another launcher"))

    def _open(self, job: Job) -> Execution | lock.Holder | None:
        """The job, started; or who has its folder; or None where it is finished already."""
        taken = lock.take(job.folder, record.now())
        if isinstance(taken, lock.Holder):
            return taken
        try:
            if job.anew or not record.finished(job.folder, job.run):
                return Execution(job, self._free[0], taken, self._runner, self._clock)
        except BaseException:
            taken.release()
            raise
        taken.release()
        return None

    def _hold(self, job: Job, holder: lock.Holder) -> None:
        self._held.append(job)
        if job.name not in self._told:
            self._told.add(job.name)
            self._observer.held(job, holder)

    def _close(self, execution: Execution, *, stopped_as: str | None = None) -> None:
        self._running.remove(execution)
        self._free.append(execution.slot)
        outcome = execution.close(stopped_as=stopped_as)
        job = execution.job
        if outcome.status != "stalled":
            self._finish(job, outcome)
        elif len(job.stalls) == 1:
            self._waiting.appendleft(replace(job, anew=False))
            self._observer.stalled(job, outcome)
        else:
            self._finish(job, replace(outcome, status="failed", reason=f"stalled again: {outcome.reason}"))

    def _finish(self, job: Job, outcome: Outcome) -> None:
        self.outcomes[job.name] = outcome
        self._observer.ended(job, outcome)


def _stop_children(running: Sequence[Execution], stop: StopRequest) -> None:
    for execution in running:
        execution.signal(signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    while not all(execution.has_ended() for execution in running):
        if time.monotonic() > deadline or stop.count > 1:
            for execution in running:
                execution.signal(signal.SIGKILL)
        time.sleep(_POLL_SECONDS)
