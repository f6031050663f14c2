"""One row a run, read from the run's folder: score, cost, and whether it saw all of its data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

_NOT_METRICS: Final = ("name", "alias", "sample_len", "sample_count")
_HEADER: Final = ("run", "task", "metric", "value", "stderr", "n", "NFE", "seconds")


@dataclass(frozen=True)
class Row:
    """What a table says of a run. Scores are shares (0 to 1); `nfe` is forward passes a sample, on average.

    `total` is the size of the whole task; a run that saw fewer documents is partial. `has_other_rows`: the data was
    not the benchmark's published rows.
    """

    name: str
    task: str
    status: str
    metric: str | None = None
    value: float | None = None
    stderr: float | None = None
    n: int | None = None
    total: int | None = None
    has_other_rows: bool = False
    nfe: float | None = None
    seconds: float | None = None

    @property
    def is_partial(self) -> bool:
        """Whether the score is of a part of the task only."""
        return self.n is not None and self.total is not None and self.n < self.total

    def score(self) -> str:
        """The headline in words: `exact_match 0.713 +- 0.012 (n=1319)`."""
        if self.value is None:
            return "no score"
        spread = "" if self.stderr is None else f" ± {self.stderr:.3f}"
        of = f" of {self.total}" if self.is_partial else ""
        rows = "; not the published rows" if self.has_other_rows else ""
        return f"{(self.metric or '').partition(',')[0]} {self.value:.3f}{spread} (n={self.n}{of}{rows})"


def read_row(folder: Path) -> Row | None:
    """The row of a run's folder; None when it holds no run.json."""
    record = _read_json(folder / "run.json")
    if record is None:
        return None
    row = Row(folder.name, str(record.get("task", "")), str(record.get("status", "")), seconds=record.get("seconds"))
    results = _read_json(folder / str(record.get("results")))
    if row.status != "finished" or results is None:
        return row
    return _with_scores(row, results, record)


def read_rows(folder: Path) -> list[Row]:
    """Rows of every run in a results folder, by name; other files and folders are passed over."""
    rows = (read_row(entry) for entry in sorted(folder.iterdir()) if entry.is_dir())
    return [row for row in rows if row is not None]


def format_table(rows: Sequence[Row]) -> str:
    """The rows as aligned text. Scores that are not the benchmark's carry a mark, explained below the table."""
    cells = [_HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADER))]
    texts = len(("run", "task", "metric"))
    lines = [
        "  ".join(c.ljust(w) if i < texts else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    if any(row.is_partial for row in rows):
        lines.append("* a part of the task's documents only: not a score of the benchmark")
    if any(row.has_other_rows for row in rows):
        lines.append("! other rows than the published ones: not a score of the benchmark")
    return "\n".join(line.rstrip() for line in lines)


def _with_scores(row: Row, results: dict[str, Any], record: dict[str, Any]) -> Row:
    scores = results.get("results", {}).get(row.task, {})
    samples = results.get("n-samples", {}).get(row.task, {})
    metadata = results.get("configs", {}).get(row.task, {}).get("metadata") or {}
    metric = _headline(scores, metadata.get("reported"))
    return replace(
        row,
        metric=metric,
        value=None if metric is None else scores[metric],
        stderr=None if metric is None else _number(scores.get(metric.replace(",", "_stderr,", 1))),
        n=samples.get("effective"),
        total=samples.get("original"),
        has_other_rows=not (metadata.get("data") or {}).get("is_published_set", True),
        nfe=results.get("config", {}).get("mean_nfe", record.get("num_forward")),
    )


def _headline(scores: dict[str, Any], reported: str | None) -> str | None:
    """The metric that the task says is reported, as lm-eval spells it ("metric,filter"); else the first one."""
    if reported is not None:
        return reported if _number(scores.get(reported)) is not None else None
    for name, value in scores.items():
        if _number(value) is not None and name not in _NOT_METRICS and "_stderr," not in name:
            return name
    return None


def _cells(row: Row) -> tuple[str, ...]:
    value = row.status if row.value is None else f"{row.value:.4f}"
    return (
        row.name,
        row.task,
        row.metric or "-",
        value + "*" * row.is_partial + "!" * row.has_other_rows,
        _text(row.stderr, ".4f"),
        _text(row.n, "d"),
        _text(row.nfe, "g"),
        _text(row.seconds, ".1f"),
    )


def _text(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
