"""Accuracy against cost: a panel a benchmark, a line a strategy, by system (base, CoDD) or by decoder."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lm_eval_codd.reporting.cells import BASE, CellKey, Column, Group
from lm_eval_codd.settings import ALGS, REVISING
from lm_eval_codd.terminal.clean_text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lm_eval_codd.reporting.run import Run

__all__ = [
    "COLOURS",
    "MARKERS",
    "OTHER_MARKER",
    "Picture",
    "accuracy_pictures",
    "draw_accuracy",
    "kind_of",
    "legend_below",
    "line_of",
    "round_ticks",
    "ticks_at_values",
]

# Okabe and Ito's colours, which colour-blind readers can tell apart: the base, CoDD, then its other uses; or decoders.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS: Final = {
    **{"random": "o", "low_confidence": "s", "topprob": "P", "margin": "^", "entropy": "D"},
    **{"cad": "*", "p2": "X", "open_dllm": "h", "corrective": "<"},
}
OTHER_MARKER: Final = "v"
# In points, of markers that would look smaller than the others' 4.5.
_MARKER_SIZES: Final = {"*": 7.5, "X": 6.0, "h": 6.0}
# Of the markers: exact decodes, then each kind of approximate ones.
_FILLS: Final = ("full", "none", "left", "bottom", "right", "top")
# Measured values share an axis's ticks where they are this far apart.
_TICK_RATIO: Final = 1.3
_BAND_ALPHA: Final = 0.15
_BAND: Final = "band: one standard error"
# What an entry of the legend takes, beside its text and for each letter.
_HANDLE_INCHES: Final = 0.6
_LETTER_INCHES: Final = 0.07
# Height of a line of the legend, and how many have room without making the picture higher.
_LEGEND_INCHES: Final = 0.19
_LEGEND_LINES: Final = 2


class Look(NamedTuple):
    """Of a line: what the legend calls it, before its approximations; colour and style."""

    label: str
    colour: str
    style: str


# By rule (without its threshold) and system.
Lines = dict[tuple[str, str], Look]


class Picture(NamedTuple):
    """What to draw: accuracy of these lines on these benchmarks, against a figure of each run."""

    name: str
    lines: Lines
    benchmarks: Sequence[str]
    label: str
    figure_of: Callable[[Run], float | None]
    place_ticks: Callable[[Axes, list[float]], None]


def accuracy_pictures(group: Group) -> list[Picture]:
    """By system against network evaluations and seconds, and by decoder; those that the group has figures for."""
    nfe = ("network evaluations (NFE) a sample", lambda run: run.nfe, ticks_at_values)
    is_shared = any(cell.run is not None and not cell.run.is_alone for cell in group.cells.values())
    beside = " (not all taken alone on the device)" if is_shared else ""
    seconds = (f"seconds a sample{beside}", lambda run: run.seconds_per_sample, round_ticks)
    systems, decoders = _by_system(group), _by_decoder(group)
    pictures = []
    for name, lines, (label, figure_of, place_ticks) in (
        ("accuracy-nfe", systems, nfe),
        ("decoders-nfe", decoders, nfe),
        ("accuracy-seconds", systems, seconds),
    ):
        drawn = {
            key.benchmark
            for key, cell in group.cells.items()
            if (line_of(key.alg), key.system) in lines and cell.run is not None and figure_of(cell.run)
        }
        if drawn:
            benchmarks = [one for one in dict.fromkeys(column.benchmark for column in group.columns) if one in drawn]
            pictures.append(Picture(name, lines, benchmarks, label, figure_of, place_ticks))
    return pictures


def _by_system(group: Group) -> Lines:
    """A colour a system, the base dashed; without the decoders that were run for one system only (`_by_decoder`)."""
    systems = sorted({system for _, system in group.rows}, key=lambda system: (system != BASE, system))
    rows = dict.fromkeys((line_of(alg), system) for alg, system in group.rows)
    shared = {alg for alg, count in Counter(alg for alg, _ in rows).items() if count > 1}
    return {
        (alg, system): Look(f"{alg}, {system}", _colour(systems.index(system)), "--" if system == BASE else "-")
        for alg, system in rows
        if alg in ALGS or alg in shared
    }


def _by_decoder(group: Group) -> Lines:
    """The base by every decoder, a colour each, those that mask again dotted; nothing where there is only one."""
    rules = dict.fromkeys(line_of(alg) for alg, system in group.rows if system == BASE)
    if all(rule in ALGS for rule in rules):
        return {}
    looks = {}
    for number, rule in enumerate(rules):
        revises = rule.split()[0] in REVISING
        label = f"fixed steps, {rule}" if rule in ALGS else f"{rule} (masks again)" if revises else rule
        looks[rule, BASE] = Look(label, _colour(number), ":" if revises else "-")
    return looks


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def draw_accuracy(figure: Figure, panels: Sequence[Axes], group: Group, picture: Picture) -> None:
    """A panel a benchmark, a line a strategy: a marker a rule, bands of one standard error.

    Approximate decodes are lines of their own with open markers, one for each kind, over all of its thresholds.
    """
    from matplotlib.patches import Patch

    kinds = list(dict.fromkeys(kind_of(column) for column in group.columns))
    for panel, benchmark in zip(panels, picture.benchmarks, strict=True):
        costs: list[float] = []
        for (alg, system), look in picture.lines.items():
            for kind in kinds:
                runs = _runs_of(group, alg, system, benchmark, kind)
                points = sorted(
                    (cost, 100 * run.score_of_task, 100 * (run.binomial_stderr or 0))
                    for run in runs
                    if (cost := picture.figure_of(run))
                )
                if points:
                    fill = _FILLS[kinds.index(kind) % len(_FILLS)]
                    marker = MARKERS.get(alg.split()[0], OTHER_MARKER)
                    _line(panel, points, look._replace(label=", ".join([look.label, *kind])), marker, fill)
                    costs += [cost for cost, _, _ in points]
        panel.set_title(_panel_title(group, benchmark))
        panel.set_xlabel(picture.label)
        panel.set_ylabel("accuracy, %")
        panel.set_xscale("log")
        picture.place_ticks(panel, costs)
        panel.set_ylim(0, 105)
        panel.set_yticks(range(0, 101, 20))
    handles = {
        text: handle for panel in panels for handle, text in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    handles[_BAND] = Patch(color="black", alpha=_BAND_ALPHA, linewidth=0)
    legend_below(figure, handles)
    figure.suptitle(one_line(group.title), wrap=True)


def legend_below(figure: Figure, handles: Mapping[str, Any]) -> None:
    """A legend below the panels, in as many columns as there is room for; the picture grows by its lines.

    Args:
        figure: of the panels.
        handles: what stands beside each text.
    """
    room = int(figure.get_figwidth() // (_HANDLE_INCHES + _LETTER_INCHES * max(map(len, handles)))) or 1
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=room, frameon=False)
    lines = -(-len(handles) // room)
    figure.set_figheight(figure.get_figheight() + _LEGEND_INCHES * max(0, lines - _LEGEND_LINES))


def _panel_title(group: Group, benchmark: str) -> str:
    """The benchmark, its metric and filter below."""
    metric = " / ".join(group.metrics[benchmark])
    return one_line(benchmark) if metric in benchmark else f"{one_line(benchmark)}\n{one_line(metric)}"


def _line(panel: Axes, points: Sequence[tuple[float, float, float]], look: Look, marker: str, fill: Any) -> None:
    x, y, spread = zip(*points, strict=True)
    panel.plot(
        *(x, y, look.style),
        label=one_line(look.label),
        color=look.colour,
        marker=marker,
        markersize=_MARKER_SIZES.get(marker, 4.5),
        fillstyle=fill,
    )
    low, high = ([a + sign * b for a, b in zip(y, spread, strict=True)] for sign in (-1, 1))
    panel.fill_between(x, low, high, color=look.colour, alpha=_BAND_ALPHA, linewidth=0)


def ticks_at_values(panel: Axes, values: list[float]) -> None:
    """Ticks at what was measured: the steps of a sweep are what a reader looks for, so they come before means."""
    ticks: list[float] = []
    for value in sorted(values, key=lambda value: (value % 1 > 0, value)):
        if all(max(value, tick) > _TICK_RATIO * min(value, tick) for tick in ticks):
            ticks.append(value)
    _set_ticks(panel, sorted(ticks))


def round_ticks(panel: Axes, values: list[float]) -> None:
    """Ticks at 1, 2 and 5 times powers of ten, from the one below the values to the one above them."""
    lowest, highest = (math.floor(math.log10(bound(values))) for bound in (min, max))
    steps = [float(f"{digit}e{power}") for power in range(lowest, highest + 2) for digit in (1, 2, 5)]
    first = max(place for place, step in enumerate(steps) if step <= min(values))
    last = min(place for place, step in enumerate(steps) if step >= max(values))
    _set_ticks(panel, steps[first : last + 1])
    panel.set_xlim(steps[first] / 1.05, steps[last] * 1.05)


def _set_ticks(panel: Axes, ticks: Sequence[float]) -> None:
    panel.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    panel.set_xticks([], minor=True)


def kind_of(column: Column) -> tuple[str, ...]:
    """Its approximations, without the value of a rule that is varied like the steps: (`cache=dual`, `threshold`)."""
    return tuple(
        text if column.steps else re.sub("^(threshold|factor)=.*", r"\1", text) for text in column.approximations
    )


def line_of(alg: str) -> str:
    """A rule without its threshold: decodes that differ in it alone are points of one line."""
    return re.sub(r" (entropy_)?threshold=\S+", "", alg)


def _runs_of(group: Group, line: str, system: str, benchmark: str, kind: tuple[str, ...]) -> list[Run]:
    columns = [column for column in group.columns if column.benchmark == benchmark and kind_of(column) == kind]
    rules = [alg for alg, of_system in group.rows if line_of(alg) == line and of_system == system]
    cells = [group.cells.get(CellKey(alg, system, *column)) for alg in rules for column in columns]
    return [cell.run for cell in cells if cell is not None and cell.run is not None]
