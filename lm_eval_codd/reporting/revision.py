"""The Code Revision Benchmark in tables: means over its cells (spec/decoders.md 5.3)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from lm_eval_codd.catalogue import TASK_PREFIX
from lm_eval_codd.code_revision.cells import CELLS
from lm_eval_codd.code_revision.scopes import FILTER, METRICS, SCOPES
from lm_eval_codd.reporting.table import Table

if TYPE_CHECKING:
    from lm_eval_codd.code_revision.cells import Cell
    from lm_eval_codd.reporting.cells import Group
    from lm_eval_codd.reporting.run import Run

__all__ = ["Mean", "cell_of", "macro", "micro", "revision_table", "rows_of"]

_TIMEOUTS: Final = "timeout_t4"
_BY_TASK: Final = {f"{TASK_PREFIX}{cell.slug}": cell for cell in CELLS}


class Mean(NamedTuple):
    """A figure over cells, and its standard error; None where a cell's is not known."""

    value: float
    stderr: float | None


def cell_of(run: Run) -> Cell | None:
    """The cell of the benchmark that a run is of; None for all other tasks."""
    return _BY_TASK.get(run.task)


def rows_of(group: Group) -> Iterator[tuple[str, dict[Cell, Run], list[str]]]:
    """Of each rule and system of a group: its title, the run of each cell, and why others have none."""
    for alg, system in group.rows:
        for steps in sorted({key.steps for key in group.cells}):
            runs, refusals = {}, []
            for key, cell in group.cells.items():
                if (key.alg, key.system, key.steps) != (alg, system, steps):
                    continue
                of_benchmark = None if cell.run is None else cell_of(cell.run)
                if cell.run is None:
                    refusals.append(f"{key.benchmark}: {cell.refusal}")
                elif of_benchmark is not None:
                    runs[of_benchmark] = cell.run
            if runs or refusals:
                title = ", ".join(
                    [alg, *([] if system == "base" else [system]), *([f"{steps} steps"] if steps else [])]
                )
                yield title, runs, refusals


def macro(runs: Sequence[Run], metric: str) -> Mean:
    """The unweighted mean over cells, as published."""
    return _mean(runs, metric, [1 / len(runs)] * len(runs))


def micro(runs: Sequence[Run], metric: str) -> Mean:
    """The mean over programs."""
    numbers = [run.n or 0 for run in runs]
    return _mean(runs, metric, [number / sum(numbers) for number in numbers])


def revision_table(group: Group) -> Table | None:
    """Of a group of runs on this benchmark; None where none of them has a cell."""
    rows, notes = [], []
    for title, runs, refusals in rows_of(group):
        notes += refusals
        for scope in SCOPES:
            inside = [run for cell, run in runs.items() if scope.has(cell)]
            if inside and (scope.title == "n=1" or any(cell.number > 1 for cell in runs if scope.has(cell))):
                place = [title, scope.title, f"{len(inside)} of {len(scope.cells)}", str(sum(r.n or 0 for r in inside))]
                for name, mean in (("macro", macro), ("micro", micro)):
                    figures = [_figure(mean(inside, metric)) for metric in METRICS.values()]
                    rows.append([*place[:2], name, *place[2:], *figures, str(_timeouts(inside))])
        if any(run.has_other_rows for run in runs.values()):
            notes.append(f"{title}: not the published programs, or other tests")
    if not rows:
        return None
    header = ["rule", "cells of", "mean", "cells", "programs", *METRICS, "timeouts"]
    how = (
        "Shares (0 to 1): pass@1 after T rounds of correction, the gap of confidence between clean and corrupted "
        "tokens, and whether a corrupted one is among the 1, 3, 5 least sure; macro: every cell counts alike, as "
        "published; micro: every program; timeouts: programs, at T=4, which count as failed"
    )
    return Table(f"{group.title}: Code Revision Benchmark", header, rows, 3, [how, *dict.fromkeys(notes)])


def _mean(runs: Sequence[Run], metric: str, weights: Sequence[float]) -> Mean:
    name = f"{metric},{FILTER}"
    errors = [run.scores.get(f"{metric}_stderr,{FILTER}") for run in runs]
    value = math.fsum(weight * run.scores.get(name, math.nan) for weight, run in zip(weights, runs, strict=True))
    known = [error for error in errors if error is not None]
    if len(known) < len(runs):
        return Mean(value, None)
    return Mean(value, math.sqrt(math.fsum((weight * one) ** 2 for weight, one in zip(weights, known, strict=True))))


def _figure(mean: Mean) -> str:
    spread = "" if mean.stderr is None else f" ± {mean.stderr:.4f}"
    return f"{mean.value:.4f}{spread}"


def _timeouts(runs: Sequence[Run]) -> int:
    return sum(round(run.scores.get(f"{_TIMEOUTS},{FILTER}", 0.0) * (run.n or 0)) for run in runs)
