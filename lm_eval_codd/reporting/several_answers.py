"""Tasks with several answers to a document: pass@k with its error."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from lm_eval_codd.reporting.table import MISSING, Footnotes, Table, in_order

if TYPE_CHECKING:
    from lm_eval_codd.reporting.cells import Cell, Group

__all__ = ["pass_table"]

_PASS: Final = re.compile(r"pass_at_(\d+),")
_LEGEND: Final = (
    "pass@k: the chance that one of k answers passes, estimated without bias from all answers to a document; ± its "
    "standard error over documents, each of them one cluster of its answers"
)


def pass_table(group: Group) -> Table | None:
    """pass@k of the cells whose documents have several answers each; None without one."""
    notes = Footnotes()
    cells = [cell for cell in in_order(group) if cell.run is not None and cell.run.repeats > 1 and _figures(cell)]
    if not cells:
        return None
    numbers = sorted({k for cell in cells for k in _figures(cell)})
    rows = []
    for cell in cells:
        key, figures, run = cell.key, _figures(cell), cell.run
        assert run is not None
        label = [key.benchmark, key.column.schedule, key.alg, notes.mark(key.system, cell.marks)]
        counts = [str(run.n or MISSING), str(run.repeats)]
        rows.append([*label, *counts, *(figures.get(k, MISSING) for k in numbers)])
    header = ["benchmark", "steps", "rule", "system", "documents", "answers each", *(f"pass@{k}" for k in numbers)]
    return Table(f"{group.title}: pass@k in percent", header, rows, 4, [_LEGEND, *notes.lines()])


def _figures(cell: Cell) -> dict[int, str]:
    """`38.40 ± 3.80` by k."""
    scores = {} if cell.run is None else cell.run.scores
    found = {}
    for name, value in scores.items():
        if match := _PASS.match(name):
            error = scores.get(name.replace(",", "_stderr,", 1))
            found[int(match[1])] = f"{100 * value:.2f}" + ("" if error is None else f" ± {100 * error:.2f}")
    return found
