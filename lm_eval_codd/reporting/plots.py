"""Pictures of groups of runs: accuracy against cost, and heat maps of the circuit's settings.

matplotlib is imported when a picture is drawn: nothing else here needs it.
"""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.clean_text import one_line
from lm_eval_codd.reporting.cells import BASE, CellKey, Column, Group
from lm_eval_codd.reporting.tables import Point, grid_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lm_eval_codd.reporting.run import Run

__all__ = ["draw", "save_plots", "to_svg"]

# Okabe and Ito's colours, which colour-blind readers can tell apart: the base, CoDD, then its other uses.
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS: Final = {"random": "o", "low_confidence": "s", "topprob": "P", "margin": "^", "entropy": "D", "cad": "*"}
_OTHER_MARKER: Final = "v"
# Of the markers: exact decodes, then each kind of approximate ones.
_FILLS: Final = ("full", "none", "left", "bottom", "right", "top")
_PANEL_INCHES: Final = (3.6, 3.2)
_PANELS_PER_ROW: Final = 4
# Measured values share an axis's ticks where they are this far apart.
_TICK_RATIO: Final = 1.3
_BAND_ALPHA: Final = 0.15
_BAND: Final = "band: one standard error"
# What an entry of the legend takes, beside its text and for each letter.
_HANDLE_INCHES: Final = 0.6
_LETTER_INCHES: Final = 0.07
# Text is data here: a run's name may hold a `$`. Without a salt two pictures of one result would differ.
_STYLE: Final[dict[Any, Any]] = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "lm_eval_codd",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def draw(groups: Sequence[Group]) -> Iterator[tuple[str, Figure]]:
    """(name, figure) of every picture that the groups have figures for; names are safe as file names.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise ValueError("plots need matplotlib; pip install matplotlib") from None
    for group, stem in zip(groups, _stems(groups), strict=True):
        with matplotlib.rc_context(_STYLE):
            for name, label, figure_of in (
                ("accuracy-nfe", "network evaluations (NFE) a sample", lambda run: run.nfe),
                ("accuracy-seconds", "seconds a sample", lambda run: run.seconds_per_sample),
            ):
                if any(cell.run is not None and figure_of(cell.run) for cell in group.cells.values()):
                    place_ticks = _ticks_at_values if name == "accuracy-nfe" else _round_ticks
                    yield f"{stem}-{name}", _accuracy_figure(group, label, figure_of, place_ticks)
            for (benchmark, system), points in grid_points(group):
                yield f"{stem}-grid-{_slug(f'{benchmark}-{system}')}", _heat_maps(group, benchmark, system, points)


def save_plots(groups: Sequence[Group], folder: Path) -> list[Path]:
    """Every picture as PNG and SVG in a folder, which is made; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in draw(groups):
        for path in (folder / f"{name}.png", folder / f"{name}.svg"):
            path.write_bytes(_save(figure, path.suffix[1:]))
            paths.append(path)
    return paths


def to_svg(figure: Figure) -> bytes:
    """A figure as SVG, equal for equal data."""
    return _save(figure, "svg")


def _save(figure: Figure, kind: str) -> bytes:
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def _accuracy_figure(
    group: Group, label: str, figure_of: Callable[[Run], float | None], place_ticks: Callable[[Axes, list[float]], None]
) -> Figure:
    """A panel a benchmark, a line a strategy: a colour a system, a marker a rule, bands of one standard error.

    Approximate decodes are lines of their own with open markers, one for each kind, over all of its thresholds.
    """
    from matplotlib.patches import Patch

    benchmarks = list(dict.fromkeys(column.benchmark for column in group.columns))
    kinds = list(dict.fromkeys(_kind(column) for column in group.columns))
    systems = sorted({system for _, system in group.rows}, key=lambda system: (system != BASE, system))
    figure, panels = _panels(len(benchmarks))
    for panel, benchmark in zip(panels, benchmarks, strict=True):
        costs: list[float] = []
        for alg, system in dict.fromkeys((_line_of(alg), system) for alg, system in group.rows):
            for kind in kinds:
                runs = _runs_of(group, alg, system, benchmark, kind)
                points = sorted(
                    (cost, 100 * run.score_of_task, 100 * (run.binomial_stderr or 0))
                    for run in runs
                    if (cost := figure_of(run))
                )
                if points:
                    colour = _COLOURS[systems.index(system) % len(_COLOURS)]
                    fill = _FILLS[kinds.index(kind) % len(_FILLS)]
                    _line(panel, points, alg, ", ".join([system, *kind]), colour, fill)
                    costs += [cost for cost, _, _ in points]
        panel.set_title(_panel_title(group, benchmark))
        panel.set_xlabel(label)
        panel.set_ylabel("accuracy, %")
        panel.set_xscale("log")
        if costs:
            place_ticks(panel, costs)
        panel.set_ylim(0, 105)
        panel.set_yticks(range(0, 101, 20))
    handles = {
        text: handle for panel in panels for handle, text in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    handles[_BAND] = Patch(color="black", alpha=_BAND_ALPHA, linewidth=0)
    room = figure.get_figwidth() // (_HANDLE_INCHES + _LETTER_INCHES * max(map(len, handles)))
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=max(1, int(room)), frameon=False)
    figure.suptitle(one_line(group.title), wrap=True)
    return figure


def _panel_title(group: Group, benchmark: str) -> str:
    """The benchmark, its metric and filter below."""
    metric = " / ".join(group.metrics[benchmark])
    return one_line(benchmark) if metric in benchmark else f"{one_line(benchmark)}\n{one_line(metric)}"


def _line(
    panel: Axes, points: Sequence[tuple[float, float, float]], alg: str, system: str, colour: str, fill: str
) -> None:
    x, y, spread = zip(*points, strict=True)
    style = "--" if system.split(",")[0] == BASE else "-"
    look: dict[str, Any] = {
        "color": colour,
        "marker": _MARKERS.get(alg.split()[0], _OTHER_MARKER),
        "markersize": 4.5,
        "fillstyle": fill,
    }
    panel.plot(x, y, style, label=one_line(f"{alg}, {system}"), **look)
    low, high = ([a + sign * b for a, b in zip(y, spread, strict=True)] for sign in (-1, 1))
    panel.fill_between(x, low, high, color=colour, alpha=_BAND_ALPHA, linewidth=0)


def _ticks_at_values(panel: Axes, values: list[float]) -> None:
    """Ticks at what was measured: the steps of a sweep are what a reader looks for."""
    ticks: list[float] = []
    for value in sorted(values):
        if not ticks or value > _TICK_RATIO * ticks[-1]:
            ticks.append(value)
    _set_ticks(panel, ticks)


def _round_ticks(panel: Axes, values: list[float]) -> None:
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


def _heat_maps(group: Group, benchmark: str, system: str, points: dict[Point, Run]) -> Figure:
    """A panel for each rule and column: pc_frac down, pc_temperature across, one colour scale."""
    counts = Counter((column, alg) for column, alg, _, _ in points)
    wanted = (place for place in counts if counts[place] > 1)
    panels_wanted = sorted(wanted, key=lambda place: (place[1], place[0].order))
    points = {point: run for point, run in points.items() if point[:2] in panels_wanted}
    fracs = sorted({frac for _, _, frac, _ in points})
    taus = sorted({tau for _, _, _, tau in points})
    values = [100 * run.score_of_task for run in points.values()]
    figure, panels = _panels(len(panels_wanted))
    for panel, (column, alg) in zip(panels, panels_wanted, strict=True):
        runs = [[points.get((column, alg, frac, tau)) for tau in taus] for frac in fracs]
        grid = [[float("nan") if run is None else 100 * run.score_of_task for run in row] for row in runs]
        image = panel.imshow(grid, vmin=min(values), vmax=max(values), cmap="viridis", aspect="auto")
        for row, place in ((r, c) for r in range(len(fracs)) for c in range(len(taus)) if runs[r][c]):
            share = (grid[row][place] - min(values)) / ((max(values) - min(values)) or 1)
            colour = "black" if share > 0.6 else "white"
            panel.text(place, row, f"{grid[row][place]:.2f}", ha="center", va="center", color=colour)
        panel.set_xticks(range(len(taus)), [f"{tau:g}" for tau in taus])
        panel.set_yticks(range(len(fracs)), [f"{frac:g}" for frac in fracs])
        panel.set_xlabel("pc_temperature")
        panel.set_ylabel("pc_frac")
        unit = " steps" if column.steps and not column.approximations else ""
        panel.set_title(one_line(f"{alg}, {column.schedule}{unit}"))
        panel.grid(visible=False)
    figure.colorbar(image, ax=panels, label="accuracy, %")
    metric = " / ".join(group.metrics[benchmark])
    figure.suptitle(one_line(f"{group.title}: {benchmark} ({metric}), {system}"), wrap=True)
    return figure


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    columns = min(count, _PANELS_PER_ROW)
    rows = -(-count // columns)
    width, height = _PANEL_INCHES
    # Room for the title and the legend, which a single panel would not have.
    figure = Figure(figsize=(max(6.0, width * columns), height * rows + 1.1), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in axes[count:]:
        unused.set_axis_off()
    return figure, axes[:count]


def _kind(column: Column) -> tuple[str, ...]:
    """Its approximations, without the value of a rule that is varied like the steps: (`cache=dual`, `threshold`)."""
    return tuple(
        text if column.steps else re.sub("^(threshold|factor)=.*", r"\1", text) for text in column.approximations
    )


def _line_of(alg: str) -> str:
    """A rule without its threshold: decodes that differ in it alone are points of one line."""
    return re.sub(r" (entropy_)?threshold=\S+", "", alg)


def _runs_of(group: Group, line: str, system: str, benchmark: str, kind: tuple[str, ...]) -> list[Run]:
    columns = [column for column in group.columns if column.benchmark == benchmark and _kind(column) == kind]
    rules = [alg for alg, of_system in group.rows if _line_of(alg) == line and of_system == system]
    cells = [group.cells.get(CellKey(alg, system, *column)) for alg in rules for column in columns]
    return [cell.run for cell in cells if cell is not None and cell.run is not None]


def _stems(groups: Sequence[Group]) -> list[str]:
    """`llada-block`, and `llada-block-2` for a second table of the kind."""
    count: Counter[str] = Counter()
    stems = []
    for group in groups:
        stem = _slug(f"{group.family}-{group.paradigm}")
        count[stem] += 1
        stems.append(stem if count[stem] == 1 else f"{stem}-{count[stem]}")
    return stems


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].rstrip("-")
