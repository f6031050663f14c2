"""Runs on slots: the longest first, one a slot, the next as a slot frees."""

from __future__ import annotations

import heapq
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from lm_eval_codd.launch.command import RUNNER
from lm_eval_codd.launch.execute import Execution, Job, Outcome

if TYPE_CHECKING:
    from lm_eval_codd.launch.devices import Slot

_POLL_SECONDS: Final = 0.05
_GRACE_SECONDS: Final = 10.0


class Observer(Protocol):
    """Is told what happens to the runs, in the order in which it happens."""

    def started(self, job: Job, slot: Slot) -> None:
        """A run was started on a slot."""

    def ended(self, job: Job, outcome: Outcome) -> None:
        """A run has finished, failed or was interrupted."""


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

    A failed run does not hold up the others. When `stop` is set nothing more is started and what runs is ended: its
    process group gets SIGTERM, and SIGKILL after ten seconds or at the second request.
    """
    waiting = longest_first(jobs)
    free = list(slots)
    running: list[Execution] = []
    outcomes: dict[str, Outcome] = {}

    def end(execution: Execution, *, interrupted: bool = False) -> None:
        running.remove(execution)
        free.append(execution.slot)
        outcomes[execution.job.name] = execution.close(interrupted=interrupted)
        observer.ended(execution.job, outcomes[execution.job.name])

    try:
        while (waiting or running) and not stop:
            while waiting and free and not stop:
                job = waiting.pop(0)
                try:
                    running.append(Execution(job, free[0], tuple(runner)))
                except OSError as error:
                    outcomes[job.name] = Outcome("failed", 0.0, f"cannot be started: {error}")
                    observer.ended(job, outcomes[job.name])
                else:
                    observer.started(job, free.pop(0))
            for execution in [execution for execution in running if execution.has_ended()]:
                end(execution)
            if running:
                time.sleep(_POLL_SECONDS)
    finally:
        for execution in [execution for execution in running if execution.has_ended()]:
            end(execution)
        _stop_children(running, stop)
        for execution in list(running):
            end(execution, interrupted=True)
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
