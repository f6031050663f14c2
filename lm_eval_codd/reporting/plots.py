"""Pictures of groups of runs: accuracy against cost, of systems, decoders and dependent tokens; heat maps of settings.

matplotlib is imported when a picture is drawn: nothing else here needs it.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.reporting.accuracy_plots import accuracy_pictures, draw_accuracy
from lm_eval_codd.reporting.coupling_plot import coupling_figure
from lm_eval_codd.reporting.pareto_plot import draw_fronts, fronts
from lm_eval_codd.reporting.repeated_plot import stability_figures
from lm_eval_codd.reporting.tables import Point, grid_points
from lm_eval_codd.terminal.clean_text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lm_eval_codd.reporting.cells import Group
    from lm_eval_codd.reporting.run import Run

__all__ = ["draw", "save_plots", "to_svg"]

_PANEL_INCHES: Final = (3.6, 3.2)
_PANELS_PER_ROW: Final = 4
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
    count: Counter[str] = Counter()
    with matplotlib.rc_context(_STYLE):
        for axis, figure in stability_figures(groups):
            count[axis] += 1
            yield f"stability-{axis}" + (f"-{count[axis]}" if count[axis] > 1 else ""), figure
    for group, stem in zip(groups, _stems(groups), strict=True):
        with matplotlib.rc_context(_STYLE):
            for picture in accuracy_pictures(group):
                figure, panels = _panels(len(picture.benchmarks))
                draw_accuracy(figure, panels, group, picture)
                yield f"{stem}-{picture.name}", figure
            for front in fronts(group):
                figure, panels = _panels(len(front.cells))
                draw_fronts(figure, panels, group, front)
                yield f"{stem}-{front.name}", figure
            if (compared := coupling_figure(group)) is not None:
                yield f"{stem}-coupling", compared
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
