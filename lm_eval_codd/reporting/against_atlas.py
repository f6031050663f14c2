"""Runs against published cells of the atlas: a verdict for each cell, and what the run could have told.

A run answers the documents that the published one answered. So its interval alone is held against the printed figure,
which is taken for what it is, up to the last printed digit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Final, NamedTuple

from lm_eval_codd.atlas.cell import PERCENT
from lm_eval_codd.atlas.plan import Planned, plan_cells, refuse_assumed
from lm_eval_codd.atlas.recipe import recipe_of
from lm_eval_codd.atlas.source import CODD, chosen_cells
from lm_eval_codd.catalogue import DIT_TITLES
from lm_eval_codd.reporting.atlas_match import NO_ROWS, Measured, differences, is_same_checkpoint, measured_in
from lm_eval_codd.reporting.atlas_verdict import (
    DIFFERS,
    IMPLAUSIBLE,
    NOT_COMPARABLE,
    NOT_RUN,
    REPRODUCED,
    AtlasCheck,
    Judged,
    Reading,
)
from lm_eval_codd.reporting.stats import DetectableChange, wilson
from lm_eval_codd.reporting.unconditional import usual_sampler
from lm_eval_codd.settings import ONLY_LIKELIHOODS

if TYPE_CHECKING:
    from lm_eval_codd.atlas.cell import Cell
    from lm_eval_codd.reporting.runs import Folder

__all__ = ["check_against_atlas"]

_NOTHING: Final[Mapping[str, str]] = {}

# More differences than anybody reads.
_MOST_SAID: Final = 6


def check_against_atlas(
    folder: Folder, against: str, *, level: float, assumed: Mapping[str, str] = _NOTHING
) -> AtlasCheck:
    """A verdict for each cell of `SOURCE` or `SOURCE:CELL,...`.

    Args:
        folder: of the runs.
        against: the cells.
        level: of all intervals together.
        assumed: values by flag for what a source leaves unsaid, beside those that the runs' records name.

    Raises:
        ValueError: one line: there is no such source or cell, or an assumption is for none of them, or impossible.
    """
    source, cells = chosen_cells(against)
    recorded = _assumed_in(folder, source.name)
    recipes = {cell.id: recipe_of(source, cell, {**recorded.get(cell.id, {}), **assumed}) for cell in cells}
    plan = [Planned(source.name, cell, recipes[cell.id]) for cell in cells]
    refuse_assumed(plan, assumed)
    wanted = {task for one in plan if (task := _task(one))}
    measured = measured_in((*folder.runs, *folder.measured), wanted)
    benchmarks = _benchmarks(source.name)
    compared = [(one, _compared(one, measured, benchmarks)) for one in plan]
    # A run of one cell is no failed attempt at another.
    taken = {id(near.measured) for _, nearest in compared for near in nearest if not near.differences}
    found = [
        _outcome(one, [near for near in nearest if not near.differences or id(near.measured) not in taken])
        for one, nearest in compared
    ]
    number = sum(len(one.readings) for one in found)
    judged = [_judge(one, level / max(1, number)) for one in found]
    notes = [f"left out: {problem}" for problem in folder.problems]
    return AtlasCheck(against, level, judged, notes)


def _assumed_in(folder: Folder, source: str) -> dict[str, Mapping[str, str]]:
    """What runs of the folder say was assumed, by cell; of several the latest."""
    found: dict[str, Mapping[str, str]] = {}
    for run in sorted((*folder.runs, *folder.measured), key=lambda run: run.date):
        for label, assumed in run.published.items():
            name, _, cell = label.partition(":")
            if name == source and assumed:
                found[cell] = assumed
    return found


def _benchmarks(source: str) -> dict[str, str]:
    """The benchmark of each task that cells of the source, or of CoDD, are run with."""
    return {
        task: one.cell.benchmark
        for name in dict.fromkeys((CODD, source))
        for one in plan_cells([name]).all
        if (task := _task(one))
    }


def _task(planned: Planned) -> str | None:
    """lm-eval's name of the task of a cell's run."""
    if planned.recipe.run is not None:
        return planned.recipe.run.task
    return planned.recipe.lm_eval.get("tasks")


class _Near(NamedTuple):
    """A measurement of a cell's model and benchmark, and what it has otherwise than was published."""

    differences: list[str]
    measured: Measured


def _compared(planned: Planned, measured: Iterable[Measured], benchmarks: Mapping[str, str]) -> list[_Near]:
    """The measurements that may be the cell's, the nearest first, of equally near ones the latest."""
    recipe, cell = planned.recipe, planned.cell
    if not recipe.is_ready:
        return []
    found = []
    for one in measured:
        is_near = one.task == _task(planned) or benchmarks.get(one.task) == cell.benchmark
        if is_near and is_same_checkpoint(cell.model, one.run.checkpoint):
            if recipe.run and not recipe.lm_eval:
                others = differences(recipe.run, one) or _other_number(cell, one)
            else:
                others = _other_arguments(planned, one)
            found.append(_Near(others, one))
    return sorted(reversed(found), key=lambda near: len(near.differences))


def _other_number(cell: Cell, measured: Measured) -> list[str]:
    """That a whole task had more documents than the published one, or less: another version of its rows."""
    is_other = cell.unit == PERCENT and cell.n not in (None, measured.n) and not cell.tasks
    return [f"{measured.n} documents (published {cell.n})"] if is_other else []


def _outcome(planned: Planned, nearest: Sequence[_Near]) -> Judged:
    """The cell with its measurement; else what keeps the nearest from being one, or why there is none."""
    recipe, cell = planned.recipe, planned.cell
    if not recipe.is_ready:
        missing = f"not stated: {', '.join(recipe.unstated)}" if recipe.unstated else recipe.refusal
        return Judged(planned, NOT_RUN, (missing,))
    if not nearest:
        return Judged(planned, NOT_RUN, ("no run of it in this folder",))
    others, one = nearest[0]
    if others:
        said = [*others[:_MOST_SAID], *([f"and {len(others) - _MOST_SAID} more"] if len(others) > _MOST_SAID else [])]
        return Judged(planned, NOT_COMPARABLE, (f"{one.run.name}: {', '.join(said)}",), measured=one)
    metrics = planned.candidates or tuple(filter(None, (one.run.metric,)))
    readings = [reading for metric in metrics if (reading := _read(cell, one, metric)) is not None]
    if not readings:
        what = "standard error of " if any(metric in one.run.scores for metric in metrics) else ""
        return Judged(planned, NOT_COMPARABLE, (f"{one.run.name} has no {what}{' or '.join(metrics)}",), measured=one)
    ordered = sorted(readings, key=lambda reading: abs(reading.value - cell.value))
    return Judged(planned, REPRODUCED, readings=tuple(ordered), measured=one, assumed=recipe.assumed)


def _other_arguments(planned: Planned, measured: Measured) -> list[str]:
    """What a run has otherwise than lm-eval's own command for the cell; what its result does not say is passed over."""
    run, wanted = measured.run, planned.recipe.lm_eval
    here = {**run.settings, **run.task_arguments, **run.model_arguments}
    found = [] if run.task == wanted.get("tasks") else [f"task={run.task} (published {wanted.get('tasks')})"]
    usual = usual_sampler(str(run.family)) if run.family in DIT_TITLES and run.estimator is None else {}
    named = {**usual, **(wanted.get("model_args") or {})}
    for name, value in named.items():
        if name in here and here[name] != value and not _is_same_tokenizer(name, value, here[name]):
            found.append(f"{name}={here[name]} (published {value})")
    # Draws of noise change an error, and what is said of the rows beyond them changes the figure.
    unnamed = [name for name in run.task_arguments if name not in (*named, *ONLY_LIKELIHOODS)]
    found += [f"{name}={run.task_arguments[name]}" for name in unnamed]
    if run.is_partial or (run.limit is not None and run.n != run.total):
        found.append(f"{run.n} of {run.total} documents")
    if run.has_other_rows:
        found.append(NO_ROWS)
    return found


def _is_same_tokenizer(name: str, published: object, here: object) -> bool:
    return name == "tokenizer" and Path(str(here)).name == Path(str(published)).name


def _read(cell: Cell, measured: Measured, metric: str) -> Reading | None:
    """A figure without its interval, which depends on how many there are; None where it is not there, or has none."""
    counts = measured.counts(metric) if cell.unit == PERCENT and not cell.tasks else None
    if counts is not None:
        value = 100 * counts[0] / counts[1]
        return Reading(metric, value, counts, value, value, DetectableChange(None, None))
    found = measured.mean(metric, cell.tasks) if cell.tasks else measured.value(metric)
    if found is None or (cell.unit == PERCENT and found[1] is None):
        return None
    scale = 100 if cell.unit == PERCENT else 1
    value, error = scale * found[0], scale * (found[1] or 0.0)
    # Kept as one standard error each way until the level is known.
    return Reading(metric, value, None, value - error, value + error, DetectableChange(None, None))


def _judge(judged: Judged, level: float) -> Judged:
    """With intervals that leave out `level` each, and the verdict that follows from them."""
    cell = judged.cell
    if judged.verdict != REPRODUCED:
        # A figure that cannot be is that, whether anybody tried or not.
        return (
            replace(judged, verdict=IMPLAUSIBLE, reasons=(cell.check, *judged.reasons))
            if cell.is_implausible
            else judged
        )
    readings = tuple(_with_interval(reading, cell, level) for reading in judged.readings)
    holding = [reading.metric for reading in readings if reading.holds(cell)]
    reasons = [f"assumed {name}={value}" for name, value in judged.assumed.items()]
    if len(readings) > 1:
        reasons.append(f"as {' or '.join(holding)}" if holding else f"under none of {len(readings)} figures")
    if cell.is_suspect:
        reasons.append(cell.note)
    if cell.is_implausible:
        word = "the interval holds it all the same" if holding else "the interval does not hold it"
        return replace(judged, verdict=IMPLAUSIBLE, readings=readings, reasons=(cell.check, word, *reasons))
    return replace(judged, verdict=REPRODUCED if holding else DIFFERS, readings=readings, reasons=tuple(reasons))


def _with_interval(reading: Reading, cell: Cell, level: float) -> Reading:
    z = NormalDist().inv_cdf(1 - level / 2)
    low, high = cell.bounds
    if reading.counts is None:
        error = z * (reading.high - reading.value)
        seen = DetectableChange(cell.value - low + error, high - cell.value + error)
        return replace(reading, low=reading.value - error, high=reading.value + error, seen=seen)
    correct, n = reading.counts
    bounds = wilson(correct, n, coverage=1 - level)
    drop, rise = _reach(low / 100, n, z), _reach(1 - high / 100, n, z)
    return replace(
        reading,
        low=100 * bounds[0],
        high=100 * bounds[1],
        seen=DetectableChange(
            None if drop is None else 100 * drop + cell.value - low,
            None if rise is None else 100 * rise + high - cell.value,
        ),
    )


def _reach(share: float, n: int, z: float) -> float | None:
    """How far below a share the intervals of n answers cease to hold it; None where they never do."""
    reach = z * math.sqrt(max(0.0, share * (1 - share)) / n)
    return reach if reach < share else None
