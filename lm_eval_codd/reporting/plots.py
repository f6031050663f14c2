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

from lm_eval_codd.reporting.cells import BASE, CellKey, Group
from lm_eval_codd.reporting.tables import grid_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lm_eval_codd.reporting.runs import Run

__all__ = ["draw", "save_plots", "to_svg"]

# Okabe and Ito's colours, which colour-blind readers can tell apart.
_LOOKS: Final = {
    "random": ("#777777", "o"),
    "low_confidence": ("#0072B2", "s"),
    "margin": ("#D55E00", "^"),
    "entropy": ("#009E73", "D"),
}
_OTHER_LOOK: Final = ("#CC79A7", "v")
_PANEL_INCHES: Final = (3.6, 3.2)
_PANELS_PER_ROW: Final = 4
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
    """A panel a benchmark, a line a strategy: the base dashed, CoDD solid, bands of one standard error."""
    benchmarks = list(dict.fromkeys(benchmark for benchmark, _ in group.columns))
    figure, panels = _panels(len(benchmarks))
    for panel, benchmark in zip(panels, benchmarks, strict=True):
        for alg, system in group.rows:
            runs = _runs_of(group, alg, system, benchmark)
            points = sorted((figure_of(run), 100 * run.value, 100 * (run.binomial_stderr or 0)) for run in runs)
            if points := [point for point in points if point[0]]:
                _line(panel, points, alg, system)
        panel.set_title(benchmark)
        panel.set_xlabel(label)
        panel.set_ylabel("accuracy, %")
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
        panel.set_ylim(bottom=0)
    handles = {
        text: handle for panel in panels for handle, text in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(group.title, wrap=True)
    return figure


def _line(panel: Axes, points: Sequence[tuple[float, float, float]], alg: str, system: str) -> None:
    x, y, spread = zip(*points, strict=True)
    colour, marker = _LOOKS.get(alg, _OTHER_LOOK)
    style = "--" if system == BASE else "-"
    panel.plot(x, y, style, color=colour, marker=marker, markersize=4, label=f"{alg}, {system}")
    low, high = ([a + sign * b for a, b in zip(y, spread, strict=True)] for sign in (-1, 1))
    panel.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _heat_maps(group: Group, benchmark: str, system: str, points: dict[tuple[int, str, float, float], Run]) -> Figure:
    """A panel for each rule and step count: pc_frac down, pc_temperature across, one colour scale."""
    counts = Counter((steps, alg) for steps, alg, _, _ in points)
    panels_wanted = sorted((place for place in counts if counts[place] > 1), key=lambda place: (place[1], -place[0]))
    points = {point: run for point, run in points.items() if point[:2] in panels_wanted}
    fracs = sorted({frac for _, _, frac, _ in points})
    taus = sorted({tau for _, _, _, tau in points})
    values = [100 * run.value for run in points.values()]
    figure, panels = _panels(len(panels_wanted))
    for panel, (steps, alg) in zip(panels, panels_wanted, strict=True):
        runs = [[points.get((steps, alg, frac, tau)) for tau in taus] for frac in fracs]
        grid = [[float("nan") if run is None else 100 * run.value for run in row] for row in runs]
        image = panel.imshow(grid, vmin=min(values), vmax=max(values), cmap="viridis", aspect="auto")
        for row, column in ((r, c) for r in range(len(fracs)) for c in range(len(taus)) if runs[r][c]):
            share = (grid[row][column] - min(values)) / ((max(values) - min(values)) or 1)
            colour = "black" if share > 0.6 else "white"
            panel.text(column, row, f"{grid[row][column]:.2f}", ha="center", va="center", color=colour)
        panel.set_xticks(range(len(taus)), [f"{tau:g}" for tau in taus])
        panel.set_yticks(range(len(fracs)), [f"{frac:g}" for frac in fracs])
        panel.set_xlabel("pc_temperature")
        panel.set_ylabel("pc_frac")
        panel.set_title(f"{alg}, {steps} steps")
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


def _runs_of(group: Group, alg: str, system: str, benchmark: str) -> list[Run]:
    steps = [steps for name, steps in group.columns if name == benchmark]
    cells = [group.cells.get(CellKey(alg, system, benchmark, count)) for count in steps]
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
