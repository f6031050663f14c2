"""What a decode cost, in one place: evaluations, tokens for each, and times with what they were taken on.

A time is a speed only where the process had its device for itself. Every other is marked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lm_eval_codd.reporting.table import MISSING, Footnotes, Table, in_order, legend_of

if TYPE_CHECKING:
    from lm_eval_codd.reporting.cells import Group
    from lm_eval_codd.reporting.run import Run

__all__ = ["SHARED", "UNKNOWN", "speed_table", "time_marks"]

SHARED: Final = "not a speed: the device did other work meanwhile, so this is more than the decode takes"
UNKNOWN: Final = "not known to be a speed: whether the device did other work meanwhile was not recorded"
_NAMES: Final = ("benchmark", "steps", "rule", "system")
_FIGURES: Final = ("accuracy", "NFE", "tokens/NFE", "positions/NFE", "tokens/s", "s/sample")
_TAKEN: Final = ("timed answers", "batch", "device")
_LEGEND: Final = (
    "tokens: of an answer before its end; positions: all gen_length of it, end tokens and what follows them too; "
    "tokens/s: of one device that decodes so many answers at once (batch)"
)


def speed_table(group: Group) -> Table | None:
    """Every cell with its cost and its times; None where nothing was timed."""
    notes, rows = Footnotes(), []
    for cell in in_order(group):
        run = cell.run
        if run is None or run.seconds_per_sample is None:
            continue
        marks = time_marks(run)
        evaluations = (run.nfe, run.tokens_per_evaluation, run.positions_per_evaluation)
        figures = [f"{100 * run.score_of_task:.2f}", *(MISSING if f is None else f"{f:.2f}" for f in evaluations)]
        times = [notes.mark(_figure(figure), marks) for figure in (run.tokens_per_second, run.seconds_per_sample)]
        taken = [str(run.timed or MISSING), run.batch_size or MISSING, run.hardware or MISSING]
        key = cell.key
        rows.append([key.benchmark, key.column.schedule, key.alg, key.system, *figures, *times, *taken])
    if not rows:
        return None
    header = [*_NAMES, *_FIGURES, *_TAKEN]
    title = f"{group.title}: cost of an answer: evaluations, tokens, seconds a sample"
    return Table(title, header, rows, len(_NAMES), [*legend_of(group.columns), _LEGEND, *notes.lines()])


def time_marks(run: Run) -> list[str]:
    """What to say beside a time of the run; nothing where it was taken alone on its device."""
    return [] if run.is_alone else [UNKNOWN if run.is_alone is None else SHARED]


def _figure(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3g}"
