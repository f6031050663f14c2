"""A table as text, and what the tables of a group of runs share: footnotes, legends, paired comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from lm_eval_codd.reporting.cells import APPROXIMATE, Cell, CellKey, Column, Group
from lm_eval_codd.reporting.pairs import LEVEL, Pair, compare_runs
from lm_eval_codd.reporting.stats import holm, wilson
from lm_eval_codd.settings import REVISING, TILED

if TYPE_CHECKING:
    from lm_eval_codd.reporting.run import Run

__all__ = [
    "COMPARED",
    "MISSING",
    "POWER",
    "TESTS",
    "WILSON",
    "Footnotes",
    "Table",
    "comparison",
    "has_few",
    "in_order",
    "interval",
    "legend_of",
    "paired",
    "paired_table",
    "percent",
    "points",
    "probability",
    "who_revises",
]

MISSING: Final = "-"
TESTS: Final = "McNemar exact; paired bootstrap"
COMPARED: Final = ("items", "better", "worse", "points", "95% interval", "seen from", "p", "p (Holm)")
POWER: Final = (
    f"seen from: the smallest difference in points that could have been significant (p < {LEVEL:g}, before Holm) over "
    "these items, as many of them turning; a smaller one is not to be told from none"
)
_GRADED: Final = "by a paired t-test over items: they have several answers each, and score their mean"
WILSON: Final = "in brackets: Wilson's 95% interval, where fewer than 10 answers are right, or fewer than 10 wrong"
# Fewer right or wrong answers than this, and a standard error says little.
_FEW: Final = 10
_P: Final = COMPARED.index("p")


@dataclass(frozen=True)
class Table:
    """A table as text, before any format. The first `num_labels` columns are names, the rest figures."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    num_labels: int
    notes: Sequence[str] = field(default_factory=tuple)


class Footnotes:
    """Letters for remarks: the same remark has the same letter."""

    def __init__(self) -> None:
        self._letters: dict[str, str] = {}

    def mark(self, text: str, remarks: Sequence[str]) -> str:
        """The text with the letters of its remarks: `92.7 [a,c]`."""
        letters = [self._letters.setdefault(remark, _letter(len(self._letters))) for remark in remarks]
        return f"{text} [{','.join(letters)}]" if letters else text

    def lines(self) -> list[str]:
        """What stands below the table, a line a letter."""
        return [f"[{letter}] {remark}" for remark, letter in self._letters.items()]


def paired_table(
    title: str,
    names: Sequence[str],
    labels: Sequence[Sequence[str]],
    pairs: Sequence[tuple[Cell, Cell]],
    notes: Footnotes,
    legend: Sequence[str],
    *,
    measured: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None,
) -> Table | None:
    """A line a pair: what changed from the first to the second, item by item.

    `measured` has headings, and for each pair the figures that stand below them, before those of the comparison.
    """
    headings, figures = measured if measured is not None else ([], [[] for _ in pairs])
    compared = [paired(first, second) for first, second in pairs]
    adjusted = iter(holm([pair.p for pair in compared if isinstance(pair, Pair)]))
    rows = []
    for label, own, pair in zip(labels, figures, compared, strict=True):
        if isinstance(pair, str):
            blank = [MISSING] * (len(COMPARED) - 1)
            rows.append([*label, *own, *blank, notes.mark(MISSING, [f"no paired test: {pair}"])])
            continue
        compares = comparison(pair, next(adjusted))
        compares[_P] = notes.mark(compares[_P], [_GRADED] if pair.is_graded else [])
        rows.append([*label, *own, *compares])
    header = [*names, *headings, *COMPARED]
    return Table(title, header, rows, len(names), [*legend, POWER, *notes.lines()]) if rows else None


def comparison(pair: Pair, adjusted: float) -> list[str]:
    """What stands below `COMPARED`; `adjusted`: its p-value by Holm."""
    counts = [str(pair.n), str(pair.better), str(pair.worse)]
    seen_from = MISSING if pair.seen_from is None else f"{100 * pair.seen_from:.2f}"
    tests = [seen_from, probability(pair.p), probability(adjusted)]
    return [*counts, points(pair.difference), interval(pair.low, pair.high), *tests]


def points(share: float) -> str:
    """A difference of shares in percent points, `+3.50`."""
    return f"{100 * share:+.2f}"


def interval(low: float, high: float) -> str:
    """Two bounds in percent points, `-1.00 to +3.50`; missing where they are infinite, of too few items to have any."""
    return f"{points(low)} to {points(high)}" if math.isfinite(low) and math.isfinite(high) else MISSING


def legend_of(columns: Sequence[Column], group: Group | None = None) -> list[str]:
    """What the mark of approximate columns means, and what the scores are where they are a group's."""
    metrics = {} if group is None else group.metrics
    shown = {column.benchmark: " / ".join(metrics[column.benchmark]) for column in columns if metrics}
    named = "; ".join(metric if metric in name else f"{name}: {metric}" for name, metric in shown.items())
    return [
        *([APPROXIMATE] if any(column.approximations for column in columns) else []),
        *([f"metric and filter: {named}"] if named else []),
    ]


def who_revises(group: Group) -> list[str]:
    """Which of a group's rules may mask again what they have written; nothing where none does."""
    rules = list(dict.fromkeys(alg.split()[0] for alg, _ in group.rows))
    anywhere = [rule for rule in rules if rule in TILED]
    in_block = [rule for rule in rules if rule in REVISING and rule not in TILED]
    keeping = [rule for rule in rules if rule not in REVISING]
    if not (anywhere or in_block):
        return []
    parts = []
    if anywhere:
        parts.append(f"{_listed(anywhere)} may mask again what was written, and look at the whole answer in each step")
    if in_block:
        parts.append(f"{_listed(in_block)} may mask again what was written in a block, until it is full")
    if keeping:
        parts.append(f"what {_listed(keeping)} wrote stays")
    return ["; ".join(parts)]


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def paired(base: Cell, codd: Cell) -> Pair | str:
    """The comparison of two cells, or why there is none."""
    if base.run is None or codd.run is None:
        return base.refusal or codd.refusal
    try:
        return compare_runs(base.run, codd.run)
    except ValueError as error:
        return str(error)


def percent(run: Run) -> str:
    """`36.00 ± 2.15`, or `98.00 (93.00 to 99.45)` where few answers are right, or few wrong."""
    if has_few(run):
        low, high = wilson(*run.counts)
        return f"{100 * run.score_of_task:.2f} ({100 * low:.2f} to {100 * high:.2f})"
    spread = "" if run.binomial_stderr is None else f" ± {100 * run.binomial_stderr:.2f}"
    return f"{100 * run.score_of_task:.2f}{spread}"


def has_few(run: Run) -> bool:
    """Whether so few of its answers are right, or wrong, that `percent` shows an interval."""
    return run.correct is not None and run.n is not None and min(run.correct, run.n - run.correct) < _FEW


def probability(p: float) -> str:
    """A p-value, short and never rounded to 0."""
    return "<0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"


def in_order(group: Group) -> Iterator[Cell]:
    """A group's cells by column, then by row."""
    for column in group.columns:
        for alg, system in group.rows:
            if (cell := group.cells.get(CellKey(alg, system, *column))) is not None:
                yield cell


def _letter(number: int) -> str:
    """A to z, then aa, ab, ..."""
    first, last = divmod(number, 26)
    return ("" if first == 0 else _letter(first - 1)) + chr(ord("a") + last)
