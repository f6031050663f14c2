"""`--dry-run`: the runs as a table, what they will cost, and their commands where they are asked for."""

from __future__ import annotations

import heapq
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from lm_eval_codd.demo import packaged
from lm_eval_codd.launch.execute import command_of
from lm_eval_codd.launch.schedule import plan
from lm_eval_codd.runs.checkpoints import folder_of
from lm_eval_codd.runs.naming import other_parts
from lm_eval_codd.terminal.columns import aligned

if TYPE_CHECKING:
    from lm_eval_codd.launch.devices import Slot
    from lm_eval_codd.launch.execute import Job
    from lm_eval_codd.runs.estimate import Estimate, Estimator
    from lm_eval_codd.runs.run import Run

_HOUR: Final = 3600
_HEADER: Final = ("#", "task", "rule", "steps", "circuit", "NFE", "rows", "passes", "time", "more")
_NUMBERS: Final = ("#", "steps", "NFE", "rows", "passes", "time")
_UNKNOWN: Final = "unknown"


def show_plan(
    jobs: Sequence[Job], slots: Sequence[Slot], estimate: Estimator, runner: Sequence[str], *, commands: bool = False
) -> None:
    """Print what would be started, in the order in which it would be."""
    print(f"runs: {len(jobs)}; slots: {', '.join(slot.label for slot in slots)}; the longest first")
    if not jobs:
        return
    planned = plan(jobs, slots)
    estimates = [estimate(job.run, slot) for job, slot in planned]
    more = other_parts({job.name: job.run for job, _ in planned})
    rows = [
        _row(number, job, about, more[job.name])
        for number, ((job, _), about) in enumerate(zip(planned, estimates, strict=True), start=1)
    ]
    lines = [_HEADER, *rows, _sum([job for job, _ in planned], estimates)]
    print("\n" + "\n".join(aligned(lines, right=[_HEADER.index(name) for name in _NUMBERS])))
    if commands:
        for number, (job, slot) in enumerate(planned, start=1):
            environment = [f"{name}={shlex.quote(value)}" for name, value in slot.environment.items()]
            command = command_of(job, slot, tuple(runner))
            print(f"\n{number}. {job.name} on {slot.label}\n   " + " ".join([*environment, shlex.join(command)]))
    print()
    for line in _notes([job for job, _ in planned], estimates):
        print(line)
    print(_total([job for job, _ in planned], estimates, slots))


def _row(number: int, job: Job, about: Estimate | None, more: Sequence[str]) -> tuple[str, ...]:
    run = job.run
    most = "<= " if run.is_bound else ""
    passes = num_passes(run)
    return (
        str(number),
        run.short_task,
        run.rule,
        "-" if run.num_steps is None else str(run.num_steps),
        "-" if run.circuit is None else run.circuit.rstrip("/").rpartition("/")[2],
        f"{most}{run.num_forward}",
        _rows(run),
        _UNKNOWN if passes is None else f"{most}{passes}",
        _UNKNOWN if about is None else f"{'<= ' if about.is_bound else ''}{_hours(about.seconds)}",
        " ".join(more),
    )


def _rows(run: Run) -> str:
    """Documents, and how many answers each gets where there are several."""
    if run.num_rows is None or run.num_answers is None:
        return _UNKNOWN
    repeats = run.num_answers // max(1, run.num_rows)
    return str(run.num_rows) if repeats <= 1 else f"{run.num_rows} x{repeats}"


def _sum(jobs: Sequence[Job], estimates: Sequence[Estimate | None]) -> tuple[str, ...]:
    passes = [num_passes(job.run) for job in jobs]
    all_passes = _UNKNOWN if None in passes else str(sum(filter(None, passes)))
    times = [estimate.seconds for estimate in estimates if estimate is not None]
    all_time = _hours(sum(times)) if len(times) == len(estimates) else _UNKNOWN
    most = "<= " if any(job.run.is_bound for job in jobs) and None not in passes else ""
    bound = "<= " if any(one is not None and one.is_bound for one in estimates) and all_time != _UNKNOWN else ""
    return ("", "sum", "", "", "", "", "", f"{most}{all_passes}", f"{bound}{all_time}", "")


def num_passes(run: Run) -> int | None:
    """Forward passes of a row that a run takes at most; None where the size of its task is not known."""
    return None if run.num_answers is None else run.num_forward * run.num_answers


def _notes(jobs: Sequence[Job], estimates: Sequence[Estimate | None]) -> list[str]:
    """What the table cannot say: where its times come from, what is approximate, and what an extension."""
    sources: dict[str, list[int]] = {}
    approximate: dict[str, list[int]] = {}
    extensions: dict[str, list[int]] = {}
    templates: dict[str, list[int]] = {}
    for number, (job, about) in enumerate(zip(jobs, estimates, strict=True), start=1):
        if about is not None:
            sources.setdefault(about.source, []).append(number)
        templates.setdefault(_template(job.run), []).append(number)
        if job.run.config.approximations:
            approximate.setdefault(", ".join(job.run.config.approximations), []).append(number)
        for what in job.run.extensions:
            extensions.setdefault(what, []).append(number)
    lines = [f"chat template: {what}  [{_numbers(numbers)}]" for what, numbers in templates.items()]
    lines += [f"approximate: {what}  [{_numbers(numbers)}]" for what, numbers in approximate.items()]
    lines += [f"extension, without a reference: {what}  [{_numbers(numbers)}]" for what, numbers in extensions.items()]
    return lines + [f"time: {source}  [{_numbers(numbers)}]" for source, numbers in sources.items()]


def _template(run: Run) -> str:
    if run.chat_template is not True:
        return "none" if run.chat_template is False else run.chat_template
    if folder_of(run.checkpoint, packaged.CHECKPOINTS) is None:
        return f"yes, if {run.checkpoint} has one, which is not on this machine yet"
    return "yes"


def _numbers(numbers: Sequence[int]) -> str:
    """`run 3`, or `runs 1-4, 7`."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][-1] == number - 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    texts = [str(span[0]) if len(span) == 1 else f"{span[0]}-{span[-1]}" for span in spans]
    return f"run{'s' if len(numbers) > 1 else ''} {', '.join(texts)}"


def _total(jobs: Sequence[Job], estimates: Sequence[Estimate | None], slots: Sequence[Slot]) -> str:
    passes = [num_passes(job.run) for job in jobs]
    known_passes = [number for number in passes if number is not None]
    most = "at most " if any(job.run.is_bound for job in jobs) else ""
    text = f"in all {most}{sum(known_passes)} forward passes of a row" if known_passes else "in all"
    if len(known_passes) < len(passes):
        text += f"{', and' if known_passes else ''} an unknown number ({_runs(len(passes) - len(known_passes))})"
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
        text += f"; {_have(len(sizeless))} no estimate: the size of its task is not known, give --limit"
    if others := len(unknown) - len(sizeless):
        text += f"; {_have(others)} no estimate: none like it is finished here, give --seconds_per_forward"
    return text


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"


def _have(number: int) -> str:
    return f"{_runs(number)} {'has' if number == 1 else 'have'}"


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
