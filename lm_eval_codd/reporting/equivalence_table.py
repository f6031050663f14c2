"""Claims of no loss, each tested: fewer steps, caches and thresholds, other decoders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from lm_eval_codd.reporting.decoder_table import against_fixed_steps
from lm_eval_codd.reporting.equivalence import LEVEL, POWER, equivalence_of
from lm_eval_codd.reporting.table import (
    MISSING,
    Footnotes,
    Table,
    in_order,
    interval,
    legend_of,
    paired,
    points,
    probability,
)
from lm_eval_codd.reporting.tables import against_exact

if TYPE_CHECKING:
    from lm_eval_codd.reporting.cells import Cell, Group

__all__ = ["claims", "equivalence_table"]

_HEADER: Final = ("benchmark", "system", "cheaper", "in place of", "items", "points", "90% interval", "p (TOST)")


def equivalence_table(group: Group, margin: float) -> Table | None:
    """Whether each cheaper decode is within `margin` (a share) of what it stands in for; None without one."""
    notes, rows = Footnotes(), []
    pairs = list(claims(group))
    for costly, cheap in pairs:
        label = [cheap.key.benchmark, cheap.key.system, name_of(cheap), name_of(costly)]
        pair = paired(costly, cheap)
        if isinstance(pair, str):
            rows.append([*label, *[MISSING] * 4, notes.mark(MISSING, [f"no test: {pair}"])])
            continue
        found = equivalence_of(pair, margin)
        within = interval(found.low, found.high)
        rows.append([*label, str(pair.n), points(pair.difference), within, probability(found.p), str(found)])
    if not rows:
        return None
    title = f"{group.title}: is anything lost? Two one-sided tests (TOST), margin {_in_points(margin)}"
    legend = [
        f"equivalent: the {100 * (1 - 2 * LEVEL):.0f}% interval of the difference lies within {_in_points(margin)} "
        f"either way (each one-sided test at {LEVEL:g}, not corrected for the number of lines); worse, better: it lies "
        "wholly below or above 0",
        f"cannot tell: this n shows neither; with the n in brackets `equivalent` has a chance of {100 * POWER:.0f}% "
        "where there is no difference and as many items turn",
    ]
    approximate = legend_of([cell.key.column for pair in pairs for cell in pair])
    return Table(title, [*_HEADER, "verdict"], rows, 4, [*approximate, *legend, *notes.lines()])


def _in_points(margin: float) -> str:
    """`1 point`, `0.5 points`."""
    return f"{100 * margin:g} point{'' if 100 * margin == 1 else 's'}"


def claims(group: Group) -> Iterator[tuple[Cell, Cell]]:
    """(costlier, cheaper) of the same system: the most steps and each fewer, exact and approximate, fixed and adaptive.

    A decoder of its own pace is held against the fixed steps that `decoder_table` has beside it.
    """
    for cell in in_order(group):
        if (most := _most_steps(group, cell)) is not None:
            yield most, cell
    yield from against_exact(group)
    yield from against_fixed_steps(group)


def name_of(cell: Cell) -> str:
    """`low_confidence, 64 steps`."""
    schedule = cell.key.column.schedule
    return f"{cell.key.alg}, {schedule}{' steps' if schedule.isdecimal() else ''}"


def _most_steps(group: Group, cell: Cell) -> Cell | None:
    """The exact cell of the same row and benchmark with the most steps, if it is another one."""
    key = cell.key
    if not key.steps or key.approximations:
        return None
    most = max(k.steps for k in group.cells if k._replace(steps=key.steps) == key)
    return None if most == key.steps else group.cells[key._replace(steps=most)]
