"""The tasks of dependent tokens in tables: what a circuit changes in those with a joint answer and in the controls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from lm_eval_codd.catalogue import COUPLING_CONTROL, COUPLING_JOINT
from lm_eval_codd.reporting.cells import BASE, Cell, CellKey, Column, Group
from lm_eval_codd.reporting.pairs import Pair, pooled
from lm_eval_codd.reporting.stats import holm, interval_between
from lm_eval_codd.reporting.table import (
    COMPARED,
    MISSING,
    POWER,
    TESTS,
    Footnotes,
    Table,
    comparison,
    in_order,
    legend_of,
    paired,
    points,
)

if TYPE_CHECKING:
    from lm_eval_codd.reporting.run import Run

__all__ = ["KINDS", "Compared", "Setting", "compare_kinds", "constraint_table", "coupling_table", "difference_interval"]

KINDS: Final[Mapping[str, tuple[str, ...]]] = {"joint": COUPLING_JOINT, "control": COUPLING_CONTROL}
_CONSTRAINTS: Final = ("words", "order", "form", "rows", "columns")
_INTERVAL: Final = COMPARED.index("95% interval")
_LEVEL: Final = 0.05
_QUESTION: Final = "does a circuit lift tasks with a joint answer, and leave those with one right answer alone?"
_LEGEND: Final = (
    "joint: several answers are right, and the words of each depend on each other; control: one answer is right",
    "base, CoDD: right answers in percent; every item counts alike; an answer is right where it meets all constraints",
    "joint less control: of the two gains in points, with the interval of a bootstrap of both; that an interval has 0 "
    "in it does not show that nothing changed",
)


class Setting(NamedTuple):
    """One way to decode, with and without the circuit; `schedule` is a column without its benchmark."""

    alg: str
    system: str
    schedule: Column


class Compared(NamedTuple):
    """The tasks of a kind at a setting: their cells without and with the circuit, and all items as one pair."""

    base: list[Cell]
    codd: list[Cell]
    pair: Pair

    @property
    def counts(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """(right answers, items) without and with the circuit."""
        return _counts(self.base), _counts(self.codd)


def coupling_table(group: Group) -> Table | None:
    """Both kinds of tasks at each setting, pooled over the items that were decoded with and without the circuit.

    None where there is no such pair of runs.
    """
    notes, left_out = Footnotes(), dict[str, None]()
    compared = compare_kinds(group, left_out)
    adjusted = iter(holm([found.pair.p for kinds in compared.values() for found in kinds.values()]))
    rows = []
    for setting, kinds in compared.items():
        for kind, found in kinds.items():
            marks = dict.fromkeys(mark for cell in (*found.base, *found.codd) for mark in cell.marks)
            tasks = notes.mark(f"{len(found.codd)} of {len(KINDS[kind])}", list(marks))
            right = [f"{100 * number / items:.2f}" for number, items in found.counts]
            figures = comparison(found.pair, next(adjusted))
            figures[_INTERVAL] = notes.mark(figures[_INTERVAL], _no_width(found.pair))
            rows.append([*_place(setting), kind, tasks, *right, *figures])
        if len(kinds) == len(KINDS):
            low, high = difference_interval(kinds)
            gain = kinds["joint"].pair.difference - kinds["control"].pair.difference
            between = [points(gain), f"{points(low)} to {points(high)}"]
            rows.append([*_place(setting), "joint less control", *[MISSING] * 6, *between, *[MISSING] * 3])
    if not rows:
        return None
    header = ["rule", "steps", "system", "tasks with", "tasks", "base", "CoDD", *COMPARED]
    approximate = legend_of([setting.schedule for setting in compared])
    title = f"{group.title}: {_QUESTION} ({TESTS})"
    return Table(title, header, rows, 4, [*_LEGEND, POWER, *approximate, *left_out, *notes.lines()])


def constraint_table(group: Group) -> Table | None:
    """How many answers meet each constraint, over all and in every run; None without a run of these tasks."""
    rows = []
    for cell in in_order(group):
        if cell.run is not None and cell.key.benchmark in (*COUPLING_JOINT, *COUPLING_CONTROL):
            shares = [_share(cell.run, name) for name in _CONSTRAINTS]
            key = cell.key
            rows.append([key.benchmark, key.column.schedule, key.alg, key.system, _share(cell.run, "correct"), *shares])
    if not rows:
        return None
    header = ["benchmark", "steps", "rule", "system", "all", *_CONSTRAINTS]
    title = f"{group.title}: answers that meet each constraint, in percent"
    return Table(title, header, rows, 4, ["all: what counts as right; an answer that cannot be read meets none"])


def compare_kinds(group: Group, left_out: dict[str, None]) -> dict[Setting, dict[str, Compared]]:
    """Both kinds at each setting, most steps first; `left_out` gets a line for each pair that cannot be compared."""
    return {
        setting: {kind: found for kind in KINDS if (found := _compare(group, setting, kind, left_out)) is not None}
        for setting in _settings(group)
    }


def _settings(group: Group) -> Iterator[Setting]:
    """Most steps first."""
    schedules = {column._replace(benchmark=""): None for column in group.columns}
    for schedule in sorted(schedules, key=lambda column: column.order):
        for alg, system in group.rows:
            if system != BASE:
                yield Setting(alg, system, schedule)


def _compare(group: Group, setting: Setting, kind: str, left_out: dict[str, None]) -> Compared | None:
    """The comparison, or None without a pair of runs; `left_out` gets a line for each pair that cannot be compared."""
    base, codd, pairs = [], [], []
    for benchmark in KINDS[kind]:
        column = setting.schedule._replace(benchmark=benchmark)
        without = group.cells.get(CellKey(setting.alg, BASE, *column))
        with_circuit = group.cells.get(CellKey(setting.alg, setting.system, *column))
        if without is None or with_circuit is None:
            continue
        pair = paired(without, with_circuit)
        if isinstance(pair, str):
            left_out[f"left out: {benchmark}: {pair}"] = None
            continue
        base.append(without)
        codd.append(with_circuit)
        pairs.append(pair)
    return Compared(base, codd, pooled(pairs)) if pairs else None


def _counts(cells: Iterable[Cell]) -> tuple[int, int]:
    right, items = (sum(column) for column in zip(*(cell.run.counts for cell in cells if cell.run), strict=True))
    return right, items


def difference_interval(kinds: Mapping[str, Compared]) -> tuple[float, float]:
    """Of the gain of the joint tasks less that of the controls: 95 % by a bootstrap of both, as shares."""
    return interval_between(*((kinds[kind].pair.better, kinds[kind].pair.worse, kinds[kind].pair.n) for kind in KINDS))


def _no_width(pair: Pair) -> list[str]:
    """What to say where no item turned, of which a bootstrap draws nothing else; the exact bound, one-sided."""
    if pair.better or pair.worse:
        return []
    bound = 1 - _LEVEL ** (1 / pair.n)
    return [
        f"no item of {pair.n} turned; the share that does may still be up to {100 * bound:.1f} percent (95%, exact)"
    ]


def _place(setting: Setting) -> list[str]:
    return [setting.alg, setting.schedule.schedule, setting.system]


def _share(run: Run, name: str) -> str:
    share = run.scores.get(f"{name},none")
    return MISSING if share is None else f"{100 * share:.2f}"
