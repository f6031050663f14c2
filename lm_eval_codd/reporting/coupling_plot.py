"""The tasks of dependent tokens as a picture: accuracy against steps, of both kinds, without and with a circuit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from lm_eval_codd.reporting.coupling import KINDS, compare_kinds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lm_eval_codd.reporting.cells import Group

__all__ = ["coupling_figure"]

_NAMES: Final = {"joint": "joint answers", "control": "controls, one right answer"}
# Okabe and Ito's blue and orange.
_COLOURS: Final = {"joint": "#D55E00", "control": "#0072B2"}
_INCHES: Final = (5.6, 3.8)
_ALPHA: Final = 0.15


def coupling_figure(group: Group) -> Figure | None:
    """A colour a kind, the backbone dashed, bands of one standard error; None without runs at two numbers of steps."""
    from matplotlib.figure import Figure

    compared = {
        setting.schedule.steps: kinds
        for setting, kinds in compare_kinds(group, {}).items()
        if kinds and setting.schedule.steps and not setting.schedule.approximations
    }
    if len(compared) < 2:
        return None
    figure = Figure(figsize=_INCHES, layout="constrained")
    axes = figure.subplots()
    for kind in KINDS:
        for place, (system, style) in enumerate((("backbone", "--"), ("CoDD", "-"))):
            line = [(steps, *kinds[kind].counts[place]) for steps, kinds in sorted(compared.items()) if kind in kinds]
            _draw(axes, line, f"{_NAMES[kind]}: {system}", _COLOURS[kind], style)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(compared), [str(steps) for steps in sorted(compared)])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("denoising steps of an answer")
    axes.set_ylabel("right answers, %")
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw(axes: Axes, line: list[tuple[int, int, int]], label: str, colour: str, style: str) -> None:
    steps = [point[0] for point in line]
    shares = [right / items for _, right, items in line]
    errors = [math.sqrt(share * (1 - share) / items) for share, (_, _, items) in zip(shares, line, strict=True)]
    axes.plot(steps, [100 * share for share in shares], style, marker="o", markersize=4, color=colour, label=label)
    low, high = ([100 * (s + sign * e) for s, e in zip(shares, errors, strict=True)] for sign in (-1, 1))
    axes.fill_between(steps, low, high, color=colour, alpha=_ALPHA, linewidth=0)
