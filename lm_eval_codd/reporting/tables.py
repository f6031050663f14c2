"""The tables of a group of runs: accuracy, paired comparisons, cost, and the grid of the circuit's settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from lm_eval_codd.reporting.cells import BASE, Cell, CellKey, Column, Group, benchmark_order, key_of
from lm_eval_codd.reporting.samples import count_unreadable
from lm_eval_codd.reporting.speed import time_marks
from lm_eval_codd.reporting.table import (
    MISSING,
    TESTS,
    WILSON,
    Footnotes,
    Table,
    has_few,
    in_order,
    legend_of,
    paired,
    paired_table,
    percent,
    probability,
    who_revises,
)

if TYPE_CHECKING:
    from lm_eval_codd.reporting.run import Run

__all__ = [
    "Point",
    "ablation_tables",
    "accuracy_table",
    "against_exact",
    "approximation_table",
    "cost_tables",
    "grid_points",
    "pair_table",
    "unreadable_table",
]

# A point of a circuit's grid: column, rule, pc_frac and pc_temperature.
Point = tuple[Column, str, float, float]

_OF_SEVERAL: Final = "p of a paired t-test over documents, which have several answers each"
_IN_THE_NOISE: Final = "within two standard errors of the times: not to be told from no overhead"


def accuracy_table(group: Group) -> Table:
    """Rows as in the paper: rule; base, CoDD, and their difference with its McNemar p where the items allow it."""
    notes = Footnotes()
    rows = []
    for alg, system in group.rows:
        cells = [group.cells.get(CellKey(alg, system, *column)) for column in group.columns]
        rows.append([alg, system, *(_accuracy(cell, notes) for cell in cells)])
        if system != BASE and any(base.key.alg == alg and codd.key.system == system for base, codd in group.pairs()):
            bases = [group.cells.get(CellKey(alg, BASE, *column)) for column in group.columns]
            gains = [_gain(base, codd, notes) for base, codd in zip(bases, cells, strict=True)]
            rows.append([alg, f"{system} - base", *gains])
    header = ["rule", "system", *(_column(group, column) for column in group.columns)]
    what = "accuracy in percent ± binomial standard error; differences in points with McNemar's p"
    few = [WILSON] if any(cell.run is not None and has_few(cell.run) for cell in group.cells.values()) else []
    legend = [*legend_of(group.columns, group), *few, *who_revises(group)]
    return Table(f"{group.title}: {what}", header, rows, 2, [*legend, *notes.lines()])


def pair_table(group: Group) -> Table | None:
    """Every base and CoDD pair over the same items; None without one."""
    notes = Footnotes()
    pairs = group.pairs()
    labels = [
        [codd.key.benchmark, codd.key.column.schedule, codd.key.alg, notes.mark(codd.key.system, codd.marks)]
        for _, codd in pairs
    ]
    title = f"{group.title}: CoDD against base over the same items ({TESTS})"
    legend = legend_of([codd.key.column for _, codd in pairs], group)
    return paired_table(title, ["benchmark", "steps", "rule", "system"], labels, pairs, notes, legend)


def approximation_table(group: Group) -> Table | None:
    """Every approximate cell against the exact one of its steps, or of the most where it has none; None without one."""
    notes = Footnotes()
    pairs = against_exact(group)
    labels = [
        [cell.key.benchmark, cell.key.column.schedule, exact.key.column.schedule, cell.key.alg, cell.key.system]
        for exact, cell in pairs
    ]
    title = f"{group.title}: approximate against exact decodes over the same items ({TESTS})"
    header = ["benchmark", "steps", "exact", "rule", "system"]
    return paired_table(title, header, labels, pairs, notes, legend_of([cell.key.column for _, cell in pairs], group))


def against_exact(group: Group) -> list[tuple[Cell, Cell]]:
    """(exact, approximate), as `approximation_table` has them."""
    return [(exact, cell) for cell in in_order(group) if (exact := _exact(group, cell)) is not None]


def unreadable_table(group: Group) -> Table | None:
    """How many answers the metric's filter could not read: they are graded as wrong."""
    return _figures(group, "answers that no filter could read, of all (graded as wrong)", _unreadable, None)


def cost_tables(group: Group) -> list[Table]:
    """Seconds a sample with CoDD's overhead, and network evaluations a sample; without the figures, no table."""
    seconds = _figures(group, "seconds a sample", _seconds, _overhead, time_marks)
    nfe = _figures(group, "network evaluations (NFE) a sample, and answer tokens for each of them", _nfe, None)
    return [table for table in (seconds, nfe) if table is not None]


def ablation_tables(group: Group) -> list[Table]:
    """A grid over pc_frac and pc_temperature for each benchmark that was run with more than one of them."""
    tables = []
    for (benchmark, system), cells in _grids(group):
        points = {_point(run): run for cell in cells for run in cell.grid}
        fracs = sorted({frac for _, _, frac, _ in points})
        columns = sorted({(column, alg, tau) for column, alg, _, tau in points}, key=lambda c: (c[0].order, *c[1:]))
        rows = []
        for frac in fracs:
            runs = [points.get((column, alg, frac, tau)) for column, alg, tau in columns]
            rows.append([f"{frac:g}", *(percent(run) if run else MISSING for run in runs)])
        header = ["pc_frac", *(f"{alg} {column.schedule}, tau={tau:g}" for column, alg, tau in columns)]
        title = f"{group.title}: {benchmark}, {system}, accuracy in percent over pc_frac and pc_temperature (tau)"
        few = [WILSON] if any(map(has_few, points.values())) else []
        legend = [*legend_of([column for column, *_ in columns], group), *few]
        tables.append(Table(title, header, rows, 1, legend))
    return tables


def grid_points(group: Group) -> Iterator[tuple[tuple[str, str], dict[Point, Run]]]:
    """For each grid: (benchmark, system), and its runs by (column, rule, pc_frac, pc_temperature)."""
    for name, cells in _grids(group):
        yield name, {_point(run): run for cell in cells for run in cell.grid}


def _grids(group: Group) -> Iterator[tuple[tuple[str, str], list[Cell]]]:
    names = {(key.benchmark, key.system) for key, cell in group.cells.items() if key.system != BASE}
    for benchmark, system in sorted(names, key=lambda name: (benchmark_order(name[0]), name[1])):
        cells = [cell for key, cell in group.cells.items() if (key.benchmark, key.system) == (benchmark, system)]
        # A refused cell may hold two runs of one point, of which a grid could only show one.
        cells = [cell for cell in cells if cell.run is not None]
        if len({_point(run)[2:] for cell in cells for run in cell.grid}) > 1:
            yield (benchmark, system), cells


def _point(run: Run) -> Point:
    settings = run.settings
    return key_of(run).column, key_of(run).alg, settings["pc_frac"], settings["pc_temperature"]


def _exact(group: Group, cell: Cell) -> Cell | None:
    """The exact cell that an approximate one stands in for."""
    if not cell.key.approximations:
        return None
    key = cell.key._replace(approximations=())
    if not key.steps:
        steps = [k.steps for k in group.cells if k._replace(steps=0) == key]
        key = key._replace(steps=max(steps, default=0))
    return group.cells.get(key)


def _accuracy(cell: Cell | None, notes: Footnotes) -> str:
    if cell is None:
        return MISSING
    if cell.run is None:
        return notes.mark("refused", [cell.refusal])
    return notes.mark(percent(cell.run), cell.marks)


def _gain(base: Cell | None, codd: Cell | None, notes: Footnotes) -> str:
    if base is None or codd is None or base.run is None or codd.run is None:
        return MISSING
    pair = paired(base, codd)
    if isinstance(pair, str):
        # Other prompts or documents are another measurement; without samples the totals can still be compared.
        # So are other metrics.
        has_samples = base.run.samples is not None and codd.run.samples is not None
        if has_samples or base.run.metric != codd.run.metric:
            return notes.mark("refused", [f"no difference: {pair}"])
        difference = codd.run.score_of_task - base.run.score_of_task
        return notes.mark(f"{100 * difference:+.2f}", [f"no paired test: {pair}"])
    text = f"{100 * pair.difference:+.2f} (p {probability(pair.p)})"
    return notes.mark(text, [_OF_SEVERAL] if pair.is_graded else [])


def _column(group: Group, column: Column) -> str:
    counts = {cell.run.n or 0 for key, cell in group.cells.items() if key.column == column and cell.run is not None}
    return f"{column.benchmark} {column.schedule} (n={', '.join(map(str, sorted(counts)))})"


def _figures(
    group: Group,
    what: str,
    figure: Callable[[Run], str | None],
    compare: Callable[[Run, Run, Footnotes], str] | None,
    marks_of: Callable[[Run], list[str]] = lambda run: [],
) -> Table | None:
    notes, rows, found = Footnotes(), [], False
    for alg, system in group.rows:
        cells = [group.cells.get(CellKey(alg, system, *column)) for column in group.columns]
        runs = [cell.run if cell is not None else None for cell in cells]
        values = [None if run is None else figure(run) for run in runs]
        found = found or any(value is not None for value in values)
        shown = zip(runs, values, strict=True)
        texts = [MISSING if v is None or run is None else notes.mark(v, marks_of(run)) for run, v in shown]
        rows.append([alg, system, *texts])
        if compare is not None and system != BASE:
            bases = [group.cells.get(CellKey(alg, BASE, *column)) for column in group.columns]
            both = [
                compare(base.run, run, notes) if base is not None and base.run is not None and run else MISSING
                for base, run in zip(bases, runs, strict=True)
            ]
            rows.append([alg, f"{system} overhead", *both])
    header = ["rule", "system", *(f"{column.benchmark} {column.schedule}" for column in group.columns)]
    legend = legend_of(group.columns)
    return Table(f"{group.title}: {what}", header, rows, 2, [*legend, *notes.lines()]) if found else None


def _seconds(run: Run) -> str | None:
    return None if run.seconds_per_sample is None else f"{run.seconds_per_sample:.2f}"


def _nfe(run: Run) -> str | None:
    """`85.3 (1.62)`: network evaluations, and answer tokens for each of them where they were counted."""
    if run.nfe is None:
        return None
    tokens = run.tokens_per_evaluation
    return f"{run.nfe:.1f}" if tokens is None else f"{run.nfe:.1f} ({tokens:.2f})"


def _unreadable(run: Run) -> str | None:
    if run.estimator is not None:
        return None
    count = count_unreadable(run)
    return "unknown" if count is None else f"{count} of {run.n}"


def _overhead(base: Run, codd: Run, notes: Footnotes) -> str:
    if not base.seconds_per_sample or codd.seconds_per_sample is None:
        return MISSING
    for what, a, b in (
        ("hardware", base.hardware, codd.hardware),
        ("batch sizes", base.batch_size, codd.batch_size),
    ):
        if a != b:
            return notes.mark("refused", [f"no overhead: different {what} ({a} and {b})"])
    difference = codd.seconds_per_sample - base.seconds_per_sample
    overhead = f"{100 * difference / base.seconds_per_sample:+.1f}%"
    if codd.seconds_stderr is None or base.seconds_stderr is None:
        return overhead
    is_noise = abs(difference) < 2 * math.hypot(codd.seconds_stderr, base.seconds_stderr)
    return notes.mark(overhead, [_IN_THE_NOISE] if is_noise else [])
