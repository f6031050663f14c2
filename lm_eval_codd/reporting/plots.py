"""Pictures of groups of runs: accuracy against cost, and heat maps of the circuit's settings.

matplotlib is imported when a picture is drawn: nothing else here needs it.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lm_eval_codd.reporting.cells import BASE, CellKey, Column, Group
from lm_eval_codd.reporting.tables import Point, grid_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lm_eval_codd.reporting.runs import Run

__all__ = ["draw", "save_plots", "to_svg"]

# Okabe and Ito's colours, which colour-blind readers can tell apart.
_LOOKS: Final = {
    "random": ("#777777", "o"),
    "low_confidence": ("#0072B2", "s"),
    "topprob": ("#56B4E9", "s"),
    "margin": ("#D55E00", "^"),
    "entropy": ("#009E73", "D"),
}
# Of the markers: exact decodes, then each kind of approximate ones.
_FILLS: Final = ("full", "none", "left", "bottom", "right", "top")
_OTHER_LOOK: Final = ("#CC79A7", "v")
_PANEL_INCHES: Final = (3.6, 3.2)
_PANELS_PER_ROW: Final = 4
# What an entry of the legend takes, beside its text and for each letter.
_HANDLE_INCHES: Final = 0.6
_LETTER_INCHES: Final = 0.07
# Text is data here: a run's name may hold a `$`. Without a salt two pictures of one result would differ.
_STYLE: Final = {
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
                    yield f"{stem}-{name}", _accuracy_figure(group, label, figure_of)
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


def _accuracy_figure(group: Group, label: str, figure_of: Callable[[Run], float | None]) -> Figure:
    """A panel a benchmark, a line a strategy: the base dashed, CoDD solid, bands of one standard error.

    Approximate decodes are lines of their own with open markers, one for each kind, over all of its thresholds.
    """
    benchmarks = list(dict.fromkeys(column.benchmark for column in group.columns))
    kinds = list(dict.fromkeys(_kind(column) for column in group.columns))
    figure, panels = _panels(len(benchmarks))
    for panel, benchmark in zip(panels, benchmarks, strict=True):
        for alg, system in group.rows:
            for kind in kinds:
                runs = _runs_of(group, alg, system, benchmark, kind)
                points = [(figure_of(run), 100 * run.value, 100 * (run.binomial_stderr or 0)) for run in runs]
                if points := sorted(point for point in points if point[0]):
                    _line(panel, points, alg, ", ".join([system, *kind]), _FILLS[kinds.index(kind) % len(_FILLS)])
        panel.set_title(benchmark)
        panel.set_xlabel(label)
        panel.set_ylabel("accuracy, %")
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
        panel.set_ylim(bottom=0)
    handles = {
        text: handle for panel in panels for handle, text in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    room = figure.get_figwidth() // (_HANDLE_INCHES + _LETTER_INCHES * max(map(len, handles)))
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=max(1, int(room)), frameon=False)
    figure.suptitle(group.title, wrap=True)
    return figure


def _line(panel: Axes, points: Sequence[tuple[float, float, float]], alg: str, system: str, fill: str) -> None:
    x, y, spread = zip(*points, strict=True)
    colour, marker = _LOOKS.get(alg, _OTHER_LOOK)
    style = "--" if system.split(",")[0] == BASE else "-"
    panel.plot(x, y, style, color=colour, marker=marker, markersize=4, fillstyle=fill, label=f"{alg}, {system}")
    low, high = ([a + sign * b for a, b in zip(y, spread, strict=True)] for sign in (-1, 1))
    panel.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _heat_maps(group: Group, benchmark: str, system: str, points: dict[Point, Run]) -> Figure:
    """A panel for each rule and column: pc_frac down, pc_temperature across, one colour scale."""
    counts = Counter((column, alg) for column, alg, _, _ in points)
    wanted = (place for place in counts if counts[place] > 1)
    panels_wanted = sorted(wanted, key=lambda place: (place[1], place[0].order))
    points = {point: run for point, run in points.items() if point[:2] in panels_wanted}
    fracs = sorted({frac for _, _, frac, _ in points})
    taus = sorted({tau for _, _, _, tau in points})
    values = [100 * run.value for run in points.values()]
    figure, panels = _panels(len(panels_wanted))
    for panel, (column, alg) in zip(panels, panels_wanted, strict=True):
        runs = [[points.get((column, alg, frac, tau)) for tau in taus] for frac in fracs]
        grid = [[float("nan") if run is None else 100 * run.value for run in row] for row in runs]
        image = panel.imshow(grid, vmin=min(values), vmax=max(values), cmap="viridis", aspect="auto")
        for row, place in ((r, c) for r in range(len(fracs)) for c in range(len(taus)) if runs[r][c]):
            share = (grid[row][place] - min(values)) / ((max(values) - min(values)) or 1)
            colour = "black" if share > 0.6 else "white"
            panel.text(place, row, f"{grid[row][place]:.2f}", ha="center", va="center", color=colour)
        panel.set_xticks(range(len(taus)), [f"{tau:g}" for tau in taus])
        panel.set_yticks(range(len(fracs)), [f"{frac:g}" for frac in fracs])
        panel.set_xlabel("pc_temperature")
        panel.set_ylabel("pc_frac")
        panel.set_title(f"{alg}, {column.schedule}{'' if column.approximations else ' steps'}")
        panel.grid(visible=False)
    figure.colorbar(image, ax=panels, label="accuracy, %")
    figure.suptitle(f"{group.title}: {benchmark}, {system}", wrap=True)
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


def _runs_of(group: Group, alg: str, system: str, benchmark: str, kind: tuple[str, ...]) -> list[Run]:
    columns = [column for column in group.columns if column.benchmark == benchmark and _kind(column) == kind]
    cells = [group.cells.get(CellKey(alg, system, *column)) for column in columns]
    return [cell.run for cell in cells if cell is not None and cell.run is not None]


def _stems(groups: Sequence[Group]) -> list[str]:
    """`llada-block`, and `llada-block-2` for a second table of the kind."""
    count: Counter[str] = Counter()
    stems = []
    for group in groups:
        stem = f"{group.family}-{group.paradigm}"
        count[stem] += 1
        stems.append(stem if count[stem] == 1 else f"{stem}-{count[stem]}")
    return stems


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].rstrip("-")
