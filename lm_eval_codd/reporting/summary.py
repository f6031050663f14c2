"""One row a run, read from the run's folder: score, cost, and whether it saw all of its data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lm_eval_codd.reporting.runs import read_runs
from lm_eval_codd.terminal.clean_text import one_line
from lm_eval_codd.terminal.columns import aligned

if TYPE_CHECKING:
    from lm_eval_codd.reporting.run import Run

_HEADER: Final = ("run", "task", "metric", "value", "stderr", "n", "NFE", "seconds")
_TEXTS: Final = len(("run", "task", "metric"))


def read_rows(folder: Path) -> list[Run]:
    """The run in a launcher's folder, a row a metric; empty when there is none, or one of its files cannot be read."""
    try:
        return read_runs(folder)
    except ValueError:
        return []


def format_table(rows: Sequence[Run]) -> str:
    """The rows as aligned text. Scores that are not the benchmark's carry a mark, explained below the table."""
    cells = [_HEADER, *(tuple(map(one_line, line)) for row in rows for line in _lines(row))]
    lines = aligned(cells, right=range(_TEXTS, len(_HEADER)), rule=True)
    if any(row.is_partial for row in rows):
        lines.append("* a part of the task's documents only: not a score of the benchmark")
    if any(row.has_other_rows for row in rows):
        lines.append("! other rows than the published ones: not a score of the benchmark")
    if any(row.approximations for row in rows):
        lines.append("~ approximate: made with a cache, or a threshold on confidences, that its name tells")
    if any(row.extensions for row in rows):
        lines.append(
            "^ an extension of this project's without a reference: a circuit with a decoder that masks again, or "
            "router=ec"
        )
    return "\n".join(lines)


def _lines(row: Run) -> list[tuple[str, ...]]:
    if row.values:
        return [_cells(row, one.metric, str(one).partition(" ±")[0], one.stderr) for one in row.values]
    return [_cells(row, row.metric or "-", row.status if row.value is None else f"{row.value:.4f}", row.stderr)]


def _cells(row: Run, metric: str, value: str, stderr: float | None) -> tuple[str, ...]:
    return (
        row.name,
        row.task,
        metric,
        value
        + "*" * row.is_partial
        + "!" * row.has_other_rows
        + "~" * bool(row.approximations)
        + "^" * bool(row.extensions),
        _text(stderr, ".4f"),
        _text(row.n, "d"),
        _text(row.nfe, "g"),
        _text(row.seconds, ".1f"),
    )


def _text(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)
