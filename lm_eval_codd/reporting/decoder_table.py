"""Decoders against fixed steps: accuracy and cost of both, and what changed item by item."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lm_eval_codd.reporting.table import (
    MISSING,
    TESTS,
    Footnotes,
    Table,
    in_order,
    legend_of,
    paired_table,
    who_revises,
)

if TYPE_CHECKING:
    from lm_eval_codd.reporting.cells import Cell, Group
    from lm_eval_codd.reporting.run import Run

__all__ = ["against_fixed_steps", "decoder_table"]


def decoder_table(group: Group) -> Table | None:
    """Cells of other decoders against fixed steps over the same items; None without one.

    Each is held against the exact cell of the default decoder with the fewest network evaluations (NFE) that are not
    fewer than its own, or with the most where all are.
    """
    notes = Footnotes()
    pairs = against_fixed_steps(group)
    labels = [[cell.key.benchmark, cell.key.system, cell.key.alg, fixed.key.alg] for fixed, cell in pairs]
    figures = [[*_efficiency(cell), *_efficiency(fixed)[:2]] for fixed, cell in pairs]
    title = f"{group.title}: other decoders against fixed steps over the same items ({TESTS})"
    names = ["benchmark", "system", "decoder", "fixed steps"]
    measured = ["accuracy", "NFE", "tokens/NFE", "fixed accuracy", "fixed NFE"]
    legend = [*legend_of([cell.key.column for _, cell in pairs], group), *who_revises(group)]
    return paired_table(title, names, labels, pairs, notes, legend, measured=(measured, figures))


def against_fixed_steps(group: Group) -> list[tuple[Cell, Cell]]:
    """(fixed steps, other decoder), as `decoder_table` has them: by decoder, most network evaluations first."""
    pairs = [(fixed, cell) for cell in in_order(group) if (fixed := _fixed_steps(group, cell)) is not None]
    order = {row: place for place, row in enumerate(group.rows)}
    return sorted(pairs, key=lambda pair: order[pair[1].key.alg, pair[1].key.system])


def _fixed_steps(group: Group, cell: Cell) -> Cell | None:
    """What a cell of another decoder is held against; None for a cell of the default one."""
    if cell.run is None or cell.run.nfe is None or not _is_of_other_decoder(cell.run):
        return None
    fixed = [
        (other.run.nfe, other)
        for other in in_order(group)
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
        return MISSING, MISSING, MISSING
    tokens = cell.run.tokens_per_evaluation
    percent_ = f"{100 * cell.run.score_of_task:.2f}"
    return percent_, f"{cell.run.nfe:.1f}", MISSING if tokens is None else f"{tokens:.2f}"
