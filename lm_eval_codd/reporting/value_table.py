"""The table of values that are no accuracies, beside those of a group of runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lm_eval_codd.reporting.cells import BASE, Column, key_of
from lm_eval_codd.reporting.marks import marks_of
from lm_eval_codd.reporting.protocol import protocol_of, title_of
from lm_eval_codd.reporting.table import MISSING, Footnotes, Table
from lm_eval_codd.reporting.values import KINDS
from lm_eval_codd.settings import DecodingConfig

if TYPE_CHECKING:
    from lm_eval_codd.reporting.run import Run
    from lm_eval_codd.reporting.values import Value

__all__ = ["value_tables"]

_ORDER: Final = tuple(KINDS)
_POINT: Final = ("pc_frac", "pc_temperature")
_BOUND: Final = "<= and >=: from a bound of the log-likelihood; the model's own value is no worse"


class _Place(NamedTuple):
    """A column: a metric of a task."""

    column: Column
    metric: str

    @property
    def name(self) -> str:
        return self.metric.partition(",")[0]

    @property
    def order(self) -> tuple[Any, ...]:
        return *self.column.order, _ORDER.index(self.name), self.metric


def value_tables(runs: Iterable[Run]) -> dict[str, Table]:
    """A table for each protocol, by the title of its group."""
    groups: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        groups[tuple(protocol_of(run).items())].append(run)
    titled = {title_of(dict(protocol), members[0]): members for protocol, members in groups.items()}
    return {title: _table(title, members) for title, members in sorted(titled.items())}


def _table(title: str, runs: Sequence[Run]) -> Table:
    notes, marks = Footnotes(), marks_of(runs)
    cells: dict[tuple[str, str], dict[_Place, list[tuple[Run, Value]]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        key = key_of(run)
        for value in run.values:
            cells[key.alg, f"{key.system}{_point(run)}"][_Place(key.column, value.metric)].append((run, value))
    places = sorted({place for row in cells.values() for place in row}, key=lambda place: place.order)
    rows = sorted(cells, key=lambda row: (row[0], row[1] != BASE, row[1]))
    texts = [[*row, *(_text(cells[row].get(place, ()), marks, notes) for place in places)] for row in rows]
    header = ["rule", "system", *(f"{_head(place)} (n={_documents(place, cells.values())})" for place in places)]
    what = "values that are no accuracies, ± standard error over documents"
    shown = [value for row in cells.values() for place in row for _, value in row[place]]
    return Table(f"{title}: {what}", header, texts, 2, [*_legend(shown), *notes.lines()])


def _text(found: Sequence[tuple[Run, Value]], marks: Mapping[int, Sequence[str]], notes: Footnotes) -> str:
    if not found:
        return MISSING
    if len(found) > 1:
        names = ", ".join(sorted(run.name for run, _ in found))
        return notes.mark("refused", [f"{len(found)} runs of the same settings: {names}"])
    ((run, value),) = found
    lacking = [name for name in value.kind.beside if name not in {other.name for other in run.values}]
    if lacking:
        return notes.mark(
            "refused", [f"{value.name} says nothing without {', '.join(lacking)}, which {run.name} lacks"]
        )
    return notes.mark(str(value), marks.get(id(run), ()))


def _head(place: _Place) -> str:
    return f"{place.column.benchmark} {place.column.schedule} {place.metric.removesuffix(',none')}"


def _documents(place: _Place, rows: Iterable[Mapping[_Place, Sequence[tuple[Run, Value]]]]) -> str:
    return ", ".join(map(str, sorted({run.n or 0 for row in rows for run, _ in row.get(place, ())})))


def _legend(shown: Sequence[Value]) -> Iterator[str]:
    for is_lower, better in ((True, "lower"), (False, "higher")):
        names = sorted({value.name for value in shown if value.kind.lower_is_better is is_lower})
        if names:
            yield f"{better} is better: {', '.join(names)}"
    if any(value.is_bound for value in shown):
        yield _BOUND


def _point(run: Run) -> str:
    """A circuit's settings that are not its usual ones: each has a row."""
    if not run.has_circuit:
        return ""
    usual = DecodingConfig()
    return "".join(f" {name}={run.settings[name]:g}" for name in _POINT if run.settings[name] != getattr(usual, name))
