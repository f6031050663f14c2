"""The tables of a group of runs: accuracy, paired comparisons, cost, and the grid of the circuit's settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from lm_eval_codd.reporting.cells import APPROXIMATE, BASE, Cell, CellKey, Column, Group, benchmark_order, key_of
from lm_eval_codd.reporting.pairs import Pair, compare_runs
from lm_eval_codd.reporting.samples import count_unreadable
from lm_eval_codd.reporting.stats import holm
from lm_eval_codd.settings import REVISING

if TYPE_CHECKING:
    from lm_eval_codd.reporting.run import Run

__all__ = [
    "Table",
    "ablation_tables",
    "accuracy_table",
    "approximation_table",
    "cost_tables",
    "decoder_table",
    "pair_table",
    "paired",
    "percent",
    "unreadable_table",
]

# A point of a circuit's grid: column, rule, pc_frac and pc_temperature.
Point = tuple[Column, str, float, float]

_MISSING = "-"
_TESTS: Final = "McNemar exact; paired bootstrap"
_IN_THE_NOISE: Final = "within two standard errors of the times: not to be told from no overhead"


@dataclass(frozen=True)
class Table:
    """A table as text, before any format. The first `num_labels` columns are names, the rest figures."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    num_labels: int
    notes: Sequence[str] = field(default_factory=tuple)


class _Footnotes:
    """Letters for remarks: the same remark has the same letter."""

    def __init__(self) -> None:
        self._letters: dict[str, str] = {}

    def mark(self, text: str, remarks: Sequence[str]) -> str:
        letters = [self._letters.setdefault(remark, _letter(len(self._letters))) for remark in remarks]
        return f"{text} [{','.join(letters)}]" if letters else text

    def lines(self) -> list[str]:
        return [f"[{letter}] {remark}" for remark, letter in self._letters.items()]


def accuracy_table(group: Group) -> Table:
    """Rows as in the paper: rule; base, CoDD, and their difference with its McNemar p where the items allow it."""
    notes = _Footnotes()
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
    legend = [*_legend(group.columns, group), *_who_revises(group)]
    return Table(f"{group.title}: {what}", header, rows, 2, [*legend, *notes.lines()])


def pair_table(group: Group) -> Table | None:
    """Every base and CoDD pair over the same items; None without one."""
    notes = _Footnotes()
    pairs = group.pairs()
    labels = [
        [codd.key.benchmark, codd.key.column.schedule, codd.key.alg, notes.mark(codd.key.system, codd.marks)]
        for _, codd in pairs
    ]
    title = f"{group.title}: CoDD against base over the same items ({_TESTS})"
    legend = _legend([codd.key.column for _, codd in pairs], group)
    return _paired_table(title, ["benchmark", "steps", "rule", "system"], labels, pairs, notes, legend)


def approximation_table(group: Group) -> Table | None:
    """Every approximate cell against the exact one of its steps, or of the most where it has none; None without one."""
    notes = _Footnotes()
    pairs = []
    for column in group.columns:
        for alg, system in group.rows:
            cell = group.cells.get(CellKey(alg, system, *column))
            if cell is not None and (exact := _exact(group, cell)) is not None:
                pairs.append((exact, cell))
    labels = [
        [cell.key.benchmark, cell.key.column.schedule, exact.key.column.schedule, cell.key.alg, cell.key.system]
        for exact, cell in pairs
    ]
    title = f"{group.title}: approximate against exact decodes over the same items ({_TESTS})"
    header = ["benchmark", "steps", "exact", "rule", "system"]
    return _paired_table(title, header, labels, pairs, notes, _legend([cell.key.column for _, cell in pairs], group))


def decoder_table(group: Group) -> Table | None:
    """Cells of other decoders against fixed steps over the same items; None without one.

    Each is held against the exact cell of the default decoder with the fewest network evaluations (NFE) that are not
    fewer than its own, or with the most where all are.
    """
    notes = _Footnotes()
    pairs = against_fixed_steps(group)
    labels = [
        [cell.key.benchmark, cell.key.system, cell.key.alg, *_efficiency(cell), fixed.key.alg, *_efficiency(fixed)]
        for fixed, cell in pairs
    ]
    title = f"{group.title}: other decoders against fixed steps over the same items ({_TESTS})"
    figures = ["accuracy", "NFE", "tokens/NFE"]
    header = ["benchmark", "system", "decoder", *figures, "fixed steps", *figures]
    legend = [*_legend([cell.key.column for _, cell in pairs], group), *_who_revises(group)]
    return _paired_table(title, header, labels, pairs, notes, legend)


def against_fixed_steps(group: Group) -> list[tuple[Cell, Cell]]:
    """(fixed steps, other decoder), as `decoder_table` has them."""
    return [(fixed, cell) for cell in _in_order(group) if (fixed := _fixed_steps(group, cell)) is not None]


def unreadable_table(group: Group) -> Table | None:
    """How many answers the metric's filter could not read: they are graded as wrong."""
    return _figures(group, "answers that no filter could read, of all (graded as wrong)", _unreadable, None)


def cost_tables(group: Group) -> list[Table]:
    """Seconds a sample with CoDD's overhead, and network evaluations a sample; without the figures, no table."""
    seconds = _figures(group, "seconds a sample", _seconds, _overhead)
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
            rows.append([f"{frac:g}", *(percent(run) if run else _MISSING for run in runs)])
        header = ["pc_frac", *(f"{alg} {column.schedule}, tau={tau:g}" for column, alg, tau in columns)]
        title = f"{group.title}: {benchmark}, {system}, accuracy in percent over pc_frac and pc_temperature (tau)"
        tables.append(Table(title, header, rows, 1, _legend([column for column, *_ in columns], group)))
    return tables


def paired(base: Cell, codd: Cell) -> Pair | str:
    """The comparison of two cells, or why there is none."""
    if base.run is None or codd.run is None:
        return base.refusal or codd.refusal
    try:
        return compare_runs(base.run, codd.run)
    except ValueError as error:
        return str(error)


def percent(run: Run) -> str:
    """`36.00 ± 2.15`."""
    spread = "" if run.binomial_stderr is None else f" ± {100 * run.binomial_stderr:.2f}"
    return f"{100 * run.score_of_task:.2f}{spread}"


def probability(p: float) -> str:
    """A p-value, short and never rounded to 0."""
    return "<0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"


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


def _in_order(group: Group) -> Iterator[Cell]:
    for column in group.columns:
        for alg, system in group.rows:
            if (cell := group.cells.get(CellKey(alg, system, *column))) is not None:
                yield cell


def _fixed_steps(group: Group, cell: Cell) -> Cell | None:
    """What a cell of another decoder is held against; None for a cell of the default one."""
    if cell.run is None or cell.run.nfe is None or not _is_of_other_decoder(cell.run):
        return None
    fixed = [
        (other.run.nfe, other)
        for other in _in_order(group)
        if (other.key.benchmark, other.key.system) == (cell.key.benchmark, cell.key.compared_system)
        and not other.key.approximations
        and other.run is not None
        and other.run.nfe is not None
        and not _is_of_other_decoder(other.run)
    ]
    enough = [entry for entry in fixed if entry[0] >= cell.run.nfe]
    if enough:
        return min(enough, key=lambda entry: entry[0])[1]
    return max(fixed, key=lambda entry: entry[0])[1] if fixed else None


def _is_of_other_decoder(run: Run) -> bool:
    return bool(run.settings) and run.settings["decoder"] != "unmasking"


def _efficiency(cell: Cell) -> tuple[str, str, str]:
    """Accuracy in percent, network evaluations, answer tokens for each of them."""
    if cell.run is None or cell.run.nfe is None:
        return _MISSING, _MISSING, _MISSING
    tokens = tokens_per_evaluation(cell.run)
    percent_ = f"{100 * cell.run.score_of_task:.2f}"
    return percent_, f"{cell.run.nfe:.1f}", _MISSING if tokens is None else f"{tokens:.2f}"


def _paired_table(
    title: str,
    names: Sequence[str],
    labels: Sequence[Sequence[str]],
    pairs: Sequence[tuple[Cell, Cell]],
    notes: _Footnotes,
    legend: Sequence[str],
) -> Table | None:
    """A line a pair: what changed from the first to the second, item by item."""
    compared = [paired(first, second) for first, second in pairs]
    adjusted = iter(holm([pair.p for pair in compared if isinstance(pair, Pair)]))
    rows = []
    for label, pair in zip(labels, compared, strict=True):
        if isinstance(pair, str):
            rows.append([*label, *[_MISSING] * 6, notes.mark(_MISSING, [f"no paired test: {pair}"])])
            continue
        interval = f"{100 * pair.low:+.2f} to {100 * pair.high:+.2f}"
        counts = [str(pair.n), str(pair.better), str(pair.worse)]
        tests = [probability(pair.p), probability(next(adjusted))]
        rows.append([*label, *counts, f"{100 * pair.difference:+.2f}", interval, *tests])
    figures = ["items", "better", "worse", "points", "95% interval", "p", "p (Holm)"]
    return Table(title, [*names, *figures], rows, len(names), [*legend, *notes.lines()]) if rows else None


def _legend(columns: Sequence[Column], group: Group | None = None) -> list[str]:
    """What the mark of approximate columns means, and what the scores are where they are a group's."""
    metrics = {} if group is None else group.metrics
    shown = {column.benchmark: " / ".join(metrics[column.benchmark]) for column in columns if metrics}
    named = "; ".join(metric if metric in name else f"{name}: {metric}" for name, metric in shown.items())
    return [
        *([APPROXIMATE] if any(column.approximations for column in columns) else []),
        *([f"metric and filter: {named}"] if named else []),
    ]


def _who_revises(group: Group) -> list[str]:
    """Which of a group's rules may mask again what they have written; nothing where none does."""
    rules = list(dict.fromkeys(alg.split()[0] for alg, _ in group.rows))
    revising, keeping = ([rule for rule in rules if (rule in REVISING) is revises] for revises in (True, False))
    if not revising:
        return []
    kept = f"; what {_listed(keeping)} wrote stays" if keeping else ""
    return [f"{_listed(revising)} may mask again what was written, and look at the whole answer in each step{kept}"]


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _accuracy(cell: Cell | None, notes: _Footnotes) -> str:
    if cell is None:
        return _MISSING
    if cell.run is None:
        return notes.mark("refused", [cell.refusal])
    return notes.mark(percent(cell.run), cell.marks)


def _gain(base: Cell | None, codd: Cell | None, notes: _Footnotes) -> str:
    if base is None or codd is None or base.run is None or codd.run is None:
        return _MISSING
    pair = paired(base, codd)
    if isinstance(pair, str):
        # Other prompts or documents are another measurement; without samples the totals can still be compared.
        # So are other metrics.
        has_samples = base.run.samples is not None and codd.run.samples is not None
        if has_samples or base.run.metric != codd.run.metric:
            return notes.mark("refused", [f"no difference: {pair}"])
        difference = codd.run.score_of_task - base.run.score_of_task
        return notes.mark(f"{100 * difference:+.2f}", [f"no paired test: {pair}"])
    return f"{100 * pair.difference:+.2f} (p {probability(pair.p)})"


def _column(group: Group, column: Column) -> str:
    counts = {cell.run.n or 0 for key, cell in group.cells.items() if key.column == column and cell.run is not None}
    return f"{column.benchmark} {column.schedule} (n={', '.join(map(str, sorted(counts)))})"


def _figures(
    group: Group,
    what: str,
    figure: Callable[[Run], str | None],
    compare: Callable[[Run, Run, _Footnotes], str] | None,
) -> Table | None:
    notes, rows, found = _Footnotes(), [], False
    for alg, system in group.rows:
        cells = [group.cells.get(CellKey(alg, system, *column)) for column in group.columns]
        runs = [cell.run if cell is not None else None for cell in cells]
        values = [None if run is None else figure(run) for run in runs]
        found = found or any(value is not None for value in values)
        rows.append([alg, system, *(_MISSING if value is None else value for value in values)])
        if compare is not None and system != BASE:
            bases = [group.cells.get(CellKey(alg, BASE, *column)) for column in group.columns]
            both = [
                compare(base.run, run, notes) if base is not None and base.run is not None and run else _MISSING
                for base, run in zip(bases, runs, strict=True)
            ]
            rows.append([alg, f"{system} overhead", *both])
    header = ["rule", "system", *(f"{column.benchmark} {column.schedule}" for column in group.columns)]
    legend = _legend(group.columns)
    return Table(f"{group.title}: {what}", header, rows, 2, [*legend, *notes.lines()]) if found else None


def _seconds(run: Run) -> str | None:
    return None if run.seconds_per_sample is None else f"{run.seconds_per_sample:.2f}"


def _nfe(run: Run) -> str | None:
    """`85.3 (1.62)`: network evaluations, and answer tokens for each of them where they were counted."""
    if run.nfe is None:
        return None
    tokens = tokens_per_evaluation(run)
    return f"{run.nfe:.1f}" if tokens is None else f"{run.nfe:.1f} ({tokens:.2f})"


def tokens_per_evaluation(run: Run) -> float | None:
    """Answer tokens for each network evaluation; None where either was not counted."""
    return run.answer_tokens / run.nfe if run.answer_tokens is not None and run.nfe else None


def _unreadable(run: Run) -> str:
    count = count_unreadable(run)
    return "unknown" if count is None else f"{count} of {run.n}"


def _overhead(base: Run, codd: Run, notes: _Footnotes) -> str:
    if not base.seconds_per_sample or codd.seconds_per_sample is None:
        return _MISSING
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


def _letter(number: int) -> str:
    """A to z, then aa, ab, ..."""
    first, last = divmod(number, 26)
    return ("" if first == 0 else _letter(first - 1)) + chr(ord("a") + last)
