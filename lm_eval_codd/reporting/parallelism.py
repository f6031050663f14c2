"""AUP, accuracy under parallelism: one figure for a curve of accuracy over tokens per network evaluation.

d3LLM's score (Qian et al. 2026, arXiv 2601.07568), with its constants. Of points (rho_i, y_i) in order of rho, tokens
for each evaluation and accuracy in percent, those with y_i >= y_1 - 5 count:

    AUP = rho_1 y_1 + 1/2 sum_{i > 1} (rho_i - rho_{i-1}) (y_i W(y_i) + y_{i-1} W(y_{i-1}))
    W(y) = min(exp(-3 (1 - y / y_max)), 1)

y_max is the highest accuracy that anything reaches on the task: here, in the table. So figures of two tables compare
only where y_max is the same, and a line of one point is the area of a rectangle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from lm_eval_codd.reporting.accuracy_plots import kind_of, line_of
from lm_eval_codd.reporting.table import MISSING, Table, in_order, legend_of

if TYPE_CHECKING:
    from lm_eval_codd.reporting.cells import Group
    from lm_eval_codd.reporting.run import Run

__all__ = ["ALPHA", "TOLERANCE", "accuracy_under_parallelism", "counted", "parallelism_table"]

ALPHA: Final = 3.0
# Points of accuracy below that of the least parallel decode.
TOLERANCE: Final = 5.0
_LEGEND: Final = (
    "AUP: d3LLM's accuracy under parallelism (arXiv 2601.07568; alpha 3, points within 5 of the least parallel one), "
    "higher is better; tokens/NFE: answer tokens before the end; with end tokens: every position of an answer, "
    "gen_length/NFE, as some papers count"
)


def accuracy_under_parallelism(points: Sequence[tuple[float, float]], best: float) -> float:
    """AUP of points (tokens for each evaluation, accuracy in percent), `best` being the task's highest accuracy.

    Raises:
        ValueError: there is no point, or `best` is not above 0.
    """
    if not points or best <= 0:
        raise ValueError("AUP needs a point, and a highest accuracy above 0")
    kept = counted(points)
    first, accuracy = kept[0]
    area = sum((b[0] - a[0]) * (_weighted(a[1], best) + _weighted(b[1], best)) / 2 for a, b in pairwise(kept))
    return first * accuracy + area


def counted(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that count, in order of their parallelism."""
    ordered = sorted(points)
    return [point for point in ordered if point[1] >= ordered[0][1] - TOLERANCE]


def _weighted(accuracy: float, best: float) -> float:
    return accuracy * min(math.exp(-ALPHA * (1 - accuracy / best)), 1.0)


def parallelism_table(group: Group) -> Table | None:
    """AUP of every rule and system with a curve, of answer tokens and of all positions; None without one."""
    lines: dict[tuple[str, ...], list[Run]] = {}
    for cell in in_order(group):
        if cell.run is not None and cell.run.tokens_per_evaluation:
            key = cell.key
            lines.setdefault((key.benchmark, line_of(key.alg), key.system, *kind_of(key.column)), []).append(cell.run)
    if not any(len(runs) > 1 for runs in lines.values()):
        return None
    highest: dict[str, float] = {}
    for (benchmark, *_), runs in lines.items():
        highest[benchmark] = max(highest.get(benchmark, 0), *(100 * run.score_of_task for run in runs))
    rows = []
    for (benchmark, rule, system, *kind), runs in lines.items():
        points = _points(runs, lambda run: run.tokens_per_evaluation)
        kept = counted(points)
        row = [benchmark, " ".join([rule, *kind]), system, f"{len(kept)} of {len(points)}"]
        row.append(f"{kept[0][0]:.2f} to {kept[-1][0]:.2f}")
        for figure in (points, _points(runs, lambda run: run.positions_per_evaluation)):
            best = highest[benchmark]
            row.append(f"{accuracy_under_parallelism(figure, best):.1f}" if figure and best else MISSING)
        rows.append([*row, f"{highest[benchmark]:.2f}"])
    header = ["benchmark", "rule", "system", "points", "tokens/NFE", "AUP", "AUP with end tokens", "y_max"]
    return Table(f"{group.title}: accuracy under parallelism", header, rows, 3, [*legend_of(group.columns), _LEGEND])


def _points(runs: Sequence[Run], figure_of: Callable[[Run], float | None]) -> list[tuple[float, float]]:
    return [(figure, 100 * run.score_of_task) for run in runs if (figure := figure_of(run))]
