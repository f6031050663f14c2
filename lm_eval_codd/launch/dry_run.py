"""`--dry-run`: the runs, their commands, and what they will cost."""

from __future__ import annotations

import heapq
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from lm_eval_codd.launch.command import build_command
from lm_eval_codd.launch.schedule import plan

if TYPE_CHECKING:
    from lm_eval_codd.launch.devices import Slot
    from lm_eval_codd.launch.estimate import Estimate, Estimator
    from lm_eval_codd.launch.execute import Job
    from lm_eval_codd.launch.runs import Run

_HOUR: Final = 3600


def show_plan(jobs: Sequence[Job], slots: Sequence[Slot], estimate: Estimator, runner: Sequence[str]) -> None:
    """Print what would be started, in the order in which it would be."""
    print(f"runs: {len(jobs)}; slots: {', '.join(slot.label for slot in slots)}; the longest first")
    planned = plan(jobs, slots)
    estimates = [estimate(job.run, slot) for job, slot in planned]
    for number, ((job, slot), about) in enumerate(zip(planned, estimates, strict=True), start=1):
        print(f"\n{number}. {job.name}\n   slot {slot.label}; {_forwards(job.run)}{_about(about)}")
        if approximations := job.run.config.approximations:
            print(f"   approximate: {', '.join(approximations)}")
        environment = [f"{name}={shlex.quote(value)}" for name, value in slot.environment.items()]
        command = build_command(job.run, job.folder, slot.device, tuple(runner))
        print("   " + " ".join([*environment, shlex.join(command)]))
    print(f"\n{_total([job for job, _ in planned], estimates, slots)}")


def _forwards(run: Run) -> str:
    most = "at most " if run.config.steps_follow_confidence else ""
    text = f"NFE {most}{run.num_forward}"
    if run.num_rows is None:
        return text
    return f"{text} x {run.num_rows} rows = {most}{run.num_forward * run.num_rows} forward passes"


def _about(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"; {'at most' if estimate.is_bound else 'about'} {_hours(estimate.seconds)} ({estimate.source})"


def _total(jobs: Sequence[Job], estimates: Sequence[Estimate | None], slots: Sequence[Slot]) -> str:
    forwards = [None if job.run.num_rows is None else job.run.num_forward * job.run.num_rows for job in jobs]
    most = "at most " if any(job.run.config.steps_follow_confidence for job in jobs) else ""
    text = f"in all {most}{sum(filter(None, forwards))} forward passes of a row"
    known = [estimate.seconds for estimate in estimates if estimate is not None]
    if known:
        kind = "CPU slot" if all(slot.device == "cpu" for slot in slots) else "GPU"
        about = "at most" if any(one is not None and one.is_bound for one in estimates) else "about"
        text += f", {about} {_hours(sum(known))} of {kind} time"
        if len(slots) > 1:
            text += f" and {_hours(_makespan(known, len(slots)))} on {len(slots)} slots"
    unknown = [job for job, estimate in zip(jobs, estimates, strict=True) if estimate is None]
    sizeless = [job for job in unknown if job.run.num_rows is None]
    if sizeless:
        text += f"; {_runs(len(sizeless))} no estimate: the size of its task is not known"
    if others := len(unknown) - len(sizeless):
        text += f"; {_runs(others)} no estimate: none like it is finished here, give --seconds_per_forward"
    return text


def _runs(number: int) -> str:
    return "1 run has" if number == 1 else f"{number} runs have"


def _makespan(seconds: Sequence[float], num_slots: int) -> float:
    """When the last slot is through, the runs being dealt out in this order."""
    free = [0.0] * num_slots
    for one in seconds:
        heapq.heapreplace(free, free[0] + one)
    return max(free)


def _hours(seconds: float) -> str:
    if seconds >= _HOUR:
        return f"{seconds / _HOUR:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
