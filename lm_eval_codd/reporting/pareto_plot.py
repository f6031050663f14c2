"""Accuracy against cost as a front: which decodes nothing else beats in both, and what of it is more than chance.

Bars are paired: the 95% interval of the difference to one reference decode over the same items, drawn around that one's
accuracy. A bar that does not cross its line is a difference; bars of two independent accuracies would be far wider.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lm_eval_codd.reporting.accuracy_plots import (
    COLOURS,
    MARKERS,
    OTHER_MARKER,
    legend_below,
    line_of,
    round_ticks,
    ticks_at_values,
)
from lm_eval_codd.reporting.cells import BASE
from lm_eval_codd.reporting.table import in_order, paired
from lm_eval_codd.terminal.clean_text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lm_eval_codd.reporting.cells import Cell, Group
    from lm_eval_codd.reporting.run import Run

__all__ = ["Front", "draw_fronts", "fronts", "on_front"]

_FRONT: Final = "#444444"


class Front(NamedTuple):
    """A picture: a panel a benchmark, of its cells with their costs; `reference`: what bars are differences to."""

    name: str
    label: str
    cells: dict[str, list[tuple[float, Cell]]]
    reference: dict[str, Cell]
    place_ticks: Callable[[Axes, list[float]], None]


def fronts(group: Group) -> list[Front]:
    """Against network evaluations and against seconds; those that have three points or more on a benchmark."""
    found = []
    nfe = ("pareto-nfe", "network evaluations (NFE) a sample", lambda run: run.nfe, ticks_at_values)
    seconds = ("pareto-seconds", "seconds a sample", lambda run: run.seconds_per_sample, round_ticks)
    for name, label, cost_of, place_ticks in (nfe, seconds):
        cells = _costs(group, cost_of)
        if cells:
            shared = any(not cell.run.is_alone for of in cells.values() for _, cell in of if cell.run is not None)
            beside = " (not all taken alone on the device)" if name == "pareto-seconds" and shared else ""
            references = {benchmark: _reference(of) for benchmark, of in cells.items()}
            found.append(Front(name, label + beside, cells, references, place_ticks))
    return found


def on_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Of points (cost, accuracy), which no other beats: none costs no more and is no worse, one of them strictly."""
    return [
        not any((c <= cost and a >= accuracy) and (c, a) != (cost, accuracy) for c, a in points)
        for cost, accuracy in points
    ]


def draw_fronts(figure: Figure, panels: Sequence[Axes], group: Group, front: Front) -> None:
    """Full markers are on the front, open ones are beaten; a colour a system, a marker a rule."""
    systems = list(dict.fromkeys(system for _, system in group.rows))
    for panel, (benchmark, cells) in zip(panels, front.cells.items(), strict=True):
        reference = front.reference[benchmark]
        points = [(cost, _accuracy(cell)) for cost, cell in cells]
        best = sorted(point for point, is_on in zip(points, on_front(points), strict=True) if is_on)
        panel.step(*zip(*best, strict=True), where="post", color=_FRONT, linewidth=0.8, label="front")
        panel.axhline(_accuracy(reference), color=_FRONT, linewidth=0.6, linestyle=":")
        for (cost, cell), is_on in zip(cells, on_front(points), strict=True):
            _point(panel, cost, cell, reference, COLOURS[systems.index(cell.key.system) % len(COLOURS)], is_on=is_on)
        panel.set_xscale("log")
        panel.set_xlabel(front.label)
        panel.set_ylabel("accuracy, %")
        front.place_ticks(panel, [cost for cost, _ in cells])
        rule, steps = line_of(reference.key.alg), reference.key.column.schedule
        panel.set_title(
            one_line(f"{benchmark}; bars: 95%, paired with {reference.key.system} {rule} {steps}"), fontsize=8
        )
    handles: dict[str, Any] = {}
    for panel in panels:
        handles |= {text: handle for handle, text in zip(*panel.get_legend_handles_labels(), strict=True)}
    legend_below(figure, handles)
    figure.suptitle(one_line(group.title), wrap=True)


def _point(panel: Axes, cost: float, cell: Cell, reference: Cell, colour: str, *, is_on: bool) -> None:
    accuracy, bars = _accuracy(cell), None
    pair = "itself" if cell is reference else paired(reference, cell)
    if not isinstance(pair, str) and math.isfinite(pair.low) and math.isfinite(pair.high):
        middle = _accuracy(reference)
        low, high = middle + 100 * pair.low, middle + 100 * pair.high
        bars = [[max(0.0, accuracy - low)], [max(0.0, high - accuracy)]]
    rule = line_of(cell.key.alg)
    panel.errorbar(
        [cost],
        [accuracy],
        yerr=bars,
        color=colour,
        linestyle="none",
        marker=MARKERS.get(rule.split()[0], OTHER_MARKER),
        markersize=6,
        markerfacecolor=colour if is_on else "white",
        elinewidth=0.8,
        capsize=2,
        label=one_line(f"{rule}, {cell.key.system}"),
    )


def _costs(group: Group, cost_of: Callable[[Run], float | None]) -> dict[str, list[tuple[float, Cell]]]:
    found: dict[str, list[tuple[float, Cell]]] = {}
    for cell in in_order(group):
        if cell.run is not None and (cost := cost_of(cell.run)):
            found.setdefault(cell.key.benchmark, []).append((cost, cell))
    return {benchmark: cells for benchmark, cells in found.items() if len(cells) > 2}


def _reference(cells: Sequence[tuple[float, Cell]]) -> Cell:
    """The base's exact decode of the most evaluations, or whatever took the most where there is none."""
    base = [entry for entry in cells if entry[1].key.system == BASE and not entry[1].key.approximations]
    return max(base or cells, key=lambda entry: (entry[1].run.nfe or 0) if entry[1].run is not None else 0)[1]


def _accuracy(cell: Cell) -> float:
    return 0.0 if cell.run is None else 100 * cell.run.score_of_task
