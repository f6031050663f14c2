"""What `dit_demo.py` found, as plots and as the tables of docs/dit.md."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import matplotlib
from matplotlib.figure import Figure
from update_demo import ROOT, with_table

from lm_eval_codd.reporting.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGE: Final = ROOT / "docs" / "dit.md"
FIGURES: Final = ROOT / "results" / "demo" / "dit.json"
PICTURES: Final = ROOT / "docs"

# Okabe and Ito's.
_COLOURS: Final = {
    "duo": "#D55E00",
    "mdlm": "#0072B2",
    "sedd": "#009E73",
    "d3pm": "#CC79A7",
    "ar": "#000000",
    "teacher": "#0072B2",
    "student": "#D55E00",
    "curriculum": "#56B4E9",
    "new": "0.5",
}
_DATA: Final = {"color": "0.4", "linestyle": "--", "linewidth": 1.2}
_STYLE: Final[dict[Any, Any]] = {"font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "legend.frameon": False}
_PANEL: Final = (3.5, 3.1)
# Of the variance of the loss: what is measured, and at which weights.
_LOSSES: Final = {
    "bound": "bound",
    "whole": "curriculum",
    "ids": "its times,\nids",
    "published": "published\nnoise",
    "softer": "and\nsofter",
}
_WEIGHTS: Final = {"new": "new network", "duo": "trained without", "curriculum": "trained with"}
_QUALITIES: Final = (
    ("nats", "nats per token under the chain"),
    ("illegal", "illegal bigrams, %"),
    ("entropy", "unigram entropy, nats"),
)
_PERCENTS: Final = (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_ALGOS: Final = ("duo", "mdlm", "sedd", "d3pm", "ar")


def save_plots(figures: Mapping[str, Any], folder: Path) -> list[Path]:
    """dit-bounds.png, dit-samples.png, dit-student.png and dit-curriculum.png."""
    paths = []
    with matplotlib.rc_context(_STYLE):
        for name, draw in _PLOTS.items():
            path = folder / f"dit-{name}.png"
            draw(figures).savefig(path, dpi=110)
            paths.append(path)
    return paths


def publish(figures: Mapping[str, Any]) -> None:
    """Bring the record, the plots and the tables of the page up to date."""
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    save_plots(figures, PICTURES)
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")


def with_tables(text: str, figures: Mapping[str, Any]) -> str:
    """The page with the tables of these figures."""
    for table in (_bounds(figures), _samples(figures), _student(figures), _curriculum(figures)):
        text = with_table(text, table)
    return text


def _bounds(figures: Mapping[str, Any]) -> Table:
    rows = []
    for name in (*_ALGOS, "student"):
        model = figures["models"][name]
        curve = [f"{model['curve'][row][1]:.3f}" for row in (0, -1)]
        measured = [_with_error(model[what]) for what in ("bound", "exact", "excess")]
        rows.append([name, f"{model['parameters']:,}", *curve, *measured])
    header = ["bounds", "parameters", "before", "held out, after", "fresh rows", "chain on them", "excess"]
    return Table("", header, rows, 1)


def _samples(figures: Mapping[str, Any]) -> Table:
    rows = [["the chain's own", "", "", *_qualities(figures["data"])]]
    for name in _ALGOS:
        for sampler, by_steps in figures["models"][name]["samples"].items():
            for steps, found in by_steps.items():
                rows.append([f"{name}, {sampler}", steps, f"{found['nfe'][0]:.1f}", *_qualities(found)])
    return Table("", ["samples", "T", "NFE", "nats", "illegal, %", "entropy"], rows, 1)


def _student(figures: Mapping[str, Any]) -> Table:
    rows = []
    for sampler, by_steps in figures["models"]["duo"]["samples"].items():
        for steps, teacher in by_steps.items():
            student = figures["models"]["student"]["samples"][sampler][steps]
            difference, error = _difference(student["illegal"], teacher["illegal"])
            better = "ahead" if difference < -2 * error else "behind" if difference > 2 * error else "equal"
            change, its_error = _difference(student["entropy"], teacher["entropy"])
            cells = [_percent(each["illegal"]) for each in (teacher, student)]
            said = f"{100 * difference:+.1f} ± {100 * error:.1f}: {better}"
            rows.append([sampler, steps, f"{teacher['nfe'][0]:.0f}", *cells, said, f"{change:+.3f} ± {its_error:.3f}"])
    header = ["distilled", "T", "NFE", "teacher, illegal %", "student, illegal %", "student less teacher", "entropy"]
    return Table("", header, rows, 1)


def _curriculum(figures: Mapping[str, Any]) -> Table:
    found = figures["curriculum"]["at_weights"]
    rows = []
    for kind, label in _LOSSES.items():
        cells = [_with_error(found[name][kind][what]) for name in _WEIGHTS for what in ("mean", "std")]
        rows.append([label.replace("\n", " "), *cells])
    header = ["loss of a batch"]
    for name in _WEIGHTS.values():
        header += [f"{name}: mean", "standard deviation"]
    return Table("", header, rows, 1)


def _qualities(found: Mapping[str, Sequence[float]]) -> list[str]:
    return [_with_error(found["nats"]), _percent(found["illegal"]), _with_error(found["entropy"])]


def _with_error(value: Sequence[float], digits: int = 3) -> str:
    return f"{value[0]:.{digits}f} ± {value[1]:.{digits}f}"


def _percent(value: Sequence[float]) -> str:
    return f"{100 * value[0]:.1f} ± {100 * value[1]:.1f}"


def _difference(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Of two means, and its standard error as if their rows shared no random numbers."""
    return one[0] - other[0], math.hypot(one[1], other[1])


def _bounds_plot(figures: Mapping[str, Any]) -> Figure:
    figure, (whole, excess) = _panels(2)
    entropy = figures["language"]["entropy"]
    for name in _ALGOS:
        model = figures["models"][name]
        steps, nats, errors = (list(column) for column in zip(*model["curve"], strict=True))
        _band(whole, steps, nats, errors, _COLOURS[name], name)
        excess.plot(steps[1:], [each - entropy for each in nats[1:]], color=_COLOURS[name], linewidth=1.4)
        excess.errorbar(steps[-1], *model["excess"], color=_COLOURS[name], fmt="o", markersize=4, capsize=3)
    whole.axhline(entropy, label="entropy of the chain", **_DATA)
    whole.set_ylim(0.8, 4)
    whole.set_ylabel("bound on held-out rows, nats per token")
    excess.set_yscale("log")
    excess.set_ylim(1e-3, 5)
    excess.set_ylabel("bound less entropy, nats per token")
    for panel in (whole, excess):
        panel.set_xlabel("updates")
    _legend(figure, whole)
    return figure


def _samples_plot(figures: Mapping[str, Any]) -> Figure:
    figure, panels = _panels(3)
    for panel, (quality, label) in zip(panels, _QUALITIES, strict=True):
        for name in _ALGOS:
            sampler, by_steps = next(iter(figures["models"][name]["samples"].items()))
            marker = "*" if name == "ar" else "o"
            _points(panel, by_steps, quality, _COLOURS[name], f"{name}, {sampler}", marker=marker)
        _finish(panel, figures, quality, label)
    _legend(figure, panels[0])
    return figure


def _student_plot(figures: Mapping[str, Any]) -> Figure:
    figure, panels = _panels(3)
    for panel, (quality, label) in zip(panels, _QUALITIES, strict=True):
        for name, said in (("duo", "teacher"), ("student", "student")):
            for (sampler, by_steps), style in zip(figures["models"][name]["samples"].items(), ("-", ":"), strict=True):
                _points(panel, by_steps, quality, _COLOURS[said], f"{said}, {sampler}", style=style)
        _finish(panel, figures, quality, label)
    _legend(figure, panels[0])
    return figure


def _curriculum_plot(figures: Mapping[str, Any]) -> Figure:
    figure, (training, still) = _panels(2, width=4.3)
    window = figures["plan"]["save_every"]
    for name, label in (("duo", "without"), ("curriculum", "with")):
        rows = figures["curriculum"]["training"][name]
        steps, spreads = [row[0] for row in rows], [row[2] for row in rows]
        # Of differences of neighbours, of normal losses: sqrt(3 / (4 n)) of it.
        errors = [spread * math.sqrt(0.75 / window) for spread in spreads]
        _band(training, steps, spreads, errors, _COLOURS[name], f"{label} the curriculum")
    training.set_xlabel("updates")
    training.set_ylabel(f"standard deviation of the loss over {window} updates")
    training.set_ylim(bottom=0)
    training.legend()
    for shift, (name, label) in zip((-0.2, 0, 0.2), _WEIGHTS.items(), strict=True):
        found = figures["curriculum"]["at_weights"][name]
        values, errors = zip(*(found[kind]["std"] for kind in _LOSSES), strict=True)
        places = [place + shift for place in range(len(_LOSSES))]
        still.errorbar(places, values, errors, fmt="o", color=_COLOURS[name], capsize=3, label=label)
    still.set_xticks(range(len(_LOSSES)), list(_LOSSES.values()))
    still.set_xlim(-0.5, len(_LOSSES) - 0.5)
    still.set_ylim(bottom=0)
    still.set_ylabel("standard deviation of the loss, same weights")
    still.legend()
    return figure


def _points(
    panel: Axes,
    by_steps: Mapping[str, Any],
    quality: str,
    colour: str,
    label: str,
    *,
    style: str = "-",
    marker: str = "o",
) -> None:
    scale = 100 if quality == "illegal" else 1
    nfe = [found["nfe"][0] for found in by_steps.values()]
    values, errors = zip(*(found[quality] for found in by_steps.values()), strict=True)
    panel.errorbar(
        nfe,
        [scale * each for each in values],
        [scale * each for each in errors],
        color=colour,
        linestyle=style,
        marker=marker,
        markersize=9 if marker == "*" else 4,
        capsize=2,
        label=label,
    )


def _finish(panel: Axes, figures: Mapping[str, Any], quality: str, label: str) -> None:
    if quality == "illegal":  # of which the chain has none
        panel.set_yscale("log")
        limits = panel.get_ylim()
        panel.set_yticks(_PERCENTS, [f"{percent:g}" for percent in _PERCENTS])
        panel.set_yticks([], minor=True)
        panel.set_ylim(limits)
    panel.axhline(figures["data"][quality][0] or math.nan, label="the chain's own rows", **_DATA)
    panel.set_xscale("log", base=2)
    ticks = [2, 4, 8, 16, 32]
    panel.set_xticks(ticks, [str(tick) for tick in ticks])
    panel.set_xlabel("forwards of the network (NFE)")
    panel.set_ylabel(label)


def _band(
    panel: Axes, steps: Sequence[float], values: Sequence[float], errors: Sequence[float], colour: str, label: str
) -> None:
    """A line, and one standard error around it."""
    panel.plot(steps, values, color=colour, label=label, linewidth=1.4)
    low = [value - error for value, error in zip(values, errors, strict=True)]
    high = [value + error for value, error in zip(values, errors, strict=True)]
    panel.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)


def _panels(count: int, width: float = _PANEL[0]) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width * count, _PANEL[1] + 0.5), layout="constrained")
    return figure, list(figure.subplots(1, count))


def _legend(figure: Figure, panel: Axes) -> None:
    """One for all panels, below."""
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 6))


_PLOTS: Final[dict[str, Callable[[Mapping[str, Any]], Figure]]] = {
    "bounds": _bounds_plot,
    "samples": _samples_plot,
    "student": _student_plot,
    "curriculum": _curriculum_plot,
}
