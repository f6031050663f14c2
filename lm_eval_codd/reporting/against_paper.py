"""Runs against published tables: two samples of the same benchmark, of which the published one is known as k of n."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from lm_eval_codd.reporting.cells import BASE, Cell, CellKey, Group, group_runs, system_of
from lm_eval_codd.reporting.report import objections
from lm_eval_codd.reporting.samples import grading_of, unreadable_marks
from lm_eval_codd.reporting.stats import detectable_change, detectable_change_of_gain, fisher, gain_difference
from lm_eval_codd.reporting.verdict import Check, Comparison, corrected

if TYPE_CHECKING:
    from lm_eval_codd.atlas.codd_tables import PublishedCell
    from lm_eval_codd.reporting.run import Run
    from lm_eval_codd.reporting.runs import Folder

__all__ = ["check_against_paper"]

_SYSTEMS: Final = (BASE, "CoDD")


def check_against_paper(
    folder: Folder, published: Sequence[PublishedCell], *, against: str, level: float, table: str | None = None
) -> Check:
    """Each measured cell, and each gain of CoDD over base, against the published one.

    Raises:
        ValueError: there is no such table, or it has no accuracies.
    """
    wanted = [cell for cell in published if table in (None, cell.table)]
    if not wanted:
        tables = ", ".join(sorted({cell.table for cell in published}))
        raise ValueError(f"`--table {table}`: {against} has accuracies in {tables} only")
    runs, refused = _comparable(folder, wanted)
    measured = _measured(wanted, group_runs(runs), refused)
    pairs = list(_gain_pairs(measured))
    # Holm's first step is the strictest: what it would have seen, the check would have seen in any cell.
    cells = [_compare(cell, level / len(measured)) for cell in measured]
    gains = [_compare_gain(*pair, level / len(pairs)) for pair in pairs]
    found = {cell.reference for cell in measured}
    return Check(
        against=against,
        level=level,
        cells=corrected(cells),
        gains=corrected(gains),
        missing=_missing_lines([cell for cell in wanted if cell not in found], wanted),
        metrics=grading_of(one.run for one in measured),
        refused=list(dict.fromkeys(refused)),
        notes=[f"left out: {problem}" for problem in folder.problems],
        cell_test="Fisher's exact test",
        gain_test="Zelen's exact test of one odds ratio",
    )


class _Measured(NamedTuple):
    """A reference and the cell that was measured for it; `group` is the title of the cell's table."""

    reference: PublishedCell
    cell: Cell
    group: str

    @property
    def run(self) -> Run:
        assert self.cell.run is not None  # refused cells are not measured
        return self.cell.run


def _comparable(folder: Folder, wanted: Sequence[PublishedCell]) -> tuple[list[Run], list[str]]:
    benchmarks = {cell.benchmark for cell in wanted}
    runs, refused = [], []
    for run in folder.runs:
        if run.value is None or not run.settings or run.benchmark not in benchmarks:
            continue
        reasons = objections(run)
        if run.correct is None:
            reasons.append("its score is not k of n")
        if system_of(run) not in _SYSTEMS:
            reasons.append(f"the paper's tables have no {system_of(run)}")
        if reasons:
            refused.append(f"{run.name}: {'; '.join(reasons)}")
        else:
            runs.append(run)
    return runs, refused


def _measured(wanted: Sequence[PublishedCell], groups: Sequence[Group], refused: list[str]) -> list[_Measured]:
    found = []
    for reference in wanted:
        for group in groups:
            if (group.family, group.paradigm) != (reference.family, reference.paradigm):
                continue
            cell = group.cells.get(CellKey(reference.alg, reference.system, reference.benchmark, reference.steps))
            if cell is not None and reference.pc_frac is not None:
                cell = _at_point(cell, reference)
            if cell is not None and cell.run is None:
                refused.append(f"{reference.label}: {cell.refusal}")
            elif cell is not None:
                found.append(_Measured(reference, cell, group.title))
    return found


def _at_point(cell: Cell, reference: PublishedCell) -> Cell | None:
    """The run of a grid at the reference's point; a refused cell stays as it is."""
    if cell.run is None:
        return cell
    point = (reference.pc_frac, reference.pc_temperature)
    runs = [run for run in cell.grid if (run.settings["pc_frac"], run.settings["pc_temperature"]) == point]
    return replace(cell, run=runs[0], grid=(runs[0],), marks=()) if runs else None


def _compare(measured: _Measured, level: float) -> Comparison:
    reference, run = measured.reference, measured.run
    correct, n = run.counts
    return Comparison(
        label=reference.label,
        measured=_share(correct, n),
        reference=_share(reference.correct, reference.n),
        difference=correct / n - reference.correct / reference.n,
        p=fisher(correct, n, reference.correct, reference.n),
        detectable=detectable_change(reference.correct, reference.n, n, level),
        marks=(*reference.marks, *(f"run: {mark}" for mark in (*unreadable_marks(run), *measured.cell.marks))),
        decides=not reference.is_suspect,
    )


def _gain_pairs(measured: Sequence[_Measured]) -> Iterator[tuple[_Measured, _Measured]]:
    """(base, CoDD) of tables that have both; an ablation's base is in another table and is left to that one."""
    bases = {(m.reference.table, m.group, m.cell.key): m for m in measured if m.reference.system == BASE}
    for codd in measured:
        place = (codd.reference.table, codd.group, codd.cell.key._replace(system=BASE))
        if codd.reference.system != BASE and codd.reference.pc_frac is None and place in bases:
            yield bases[place], codd


def _compare_gain(base: _Measured, codd: _Measured, level: float) -> Comparison:
    (b, _), (c, n) = base.run.counts, codd.run.counts
    other_b, other_c, other_n = base.reference.correct, codd.reference.correct, codd.reference.n
    return Comparison(
        label=f"{codd.reference.label} - base",
        measured=f"{100 * (c - b) / n:+.2f}",
        reference=f"{100 * (other_c - other_b) / other_n:+.2f}",
        difference=(c - b) / n - (other_c - other_b) / other_n,
        p=gain_difference(b, c, n, other_b, other_c, other_n),
        detectable=detectable_change_of_gain(b, n, other_b, other_c, other_n, level),
        marks=tuple(dict.fromkeys((*base.reference.marks, *codd.reference.marks))),
        decides=not (base.reference.is_suspect or codd.reference.is_suspect),
    )


def _missing_lines(missing: Sequence[PublishedCell], wanted: Sequence[PublishedCell]) -> list[str]:
    """A line for each row of a table, or for the table when all of it is missing."""
    rows: dict[tuple[str, str], Mapping[str, list[str]]] = {}
    for cell in missing:
        point = "" if cell.pc_frac is None else f" pc_frac={cell.pc_frac:g} pc_temperature={cell.pc_temperature:g}"
        row = rows.setdefault((cell.table, f"{cell.system} {cell.alg}{point}"), defaultdict(list))
        row[cell.benchmark].append(str(cell.steps))
    lines = []
    for table in dict.fromkeys(cell.table for cell in missing):
        absent = sum(cell.table == table for cell in missing)
        if absent == sum(cell.table == table for cell in wanted):
            lines.append(f"{table}: all {absent} cells")
            continue
        for (of_table, name), benchmarks in rows.items():
            if of_table == table:
                places = ", ".join(f"{benchmark} {' '.join(steps)}" for benchmark, steps in benchmarks.items())
                lines.append(f"{table} {name}: {places}")
    return lines


def _share(correct: int, n: int) -> str:
    return f"{100 * correct / n:.2f} ({correct}/{n})"
