"""Rank stability as a picture: every method's accuracy under each template or seed; lines that cross change places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from lm_eval_codd.reporting.accuracy_plots import COLOURS
from lm_eval_codd.reporting.cells import BASE
from lm_eval_codd.reporting.repeated import families, ranks
from lm_eval_codd.reporting.repeated_table import method_name, place_of, ranking
from lm_eval_codd.terminal.clean_text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lm_eval_codd.reporting.cells import Group
    from lm_eval_codd.reporting.repeated import Family

__all__ = ["stability_figures"]

_MARKERS: Final = "osD^vP*X<>hp"
_HEIGHT: Final = 3.6
# What a value of the axis takes, and the labels beside the lines' ends.
_VALUE_INCHES: Final = 1.15
_LABEL_INCHES: Final = 2.6


def stability_figures(groups: Sequence[Group]) -> list[tuple[str, Figure]]:
    """(axis, figure), a panel each for the benchmarks and schedules of one protocol."""
    from matplotlib.figure import Figure

    titled: dict[tuple[str, str], list[Family]] = {}
    for family in families(groups):
        if len(family.runs) > 1:
            titled.setdefault((family.axis, family.title), []).append(family)
    figures = []
    for (axis, title), members in titled.items():
        width = max(6.5, _VALUE_INCHES * max(len(family.values) for family in members) + _LABEL_INCHES)
        figure = Figure(figsize=(width, _HEIGHT * len(members) + 0.6), layout="constrained")
        panels = figure.subplots(len(members), 1, squeeze=False).ravel().tolist()
        for panel, family in zip(panels, members, strict=True):
            _draw(panel, family)
        figure.suptitle(one_line(title), wrap=True)
        figures.append((axis, figure))
    return figures


def _draw(panel: Axes, family: Family) -> None:
    places, marks = ranks(family), range(len(family.values))
    rules = list(dict.fromkeys(rule for rule, _ in family.runs))
    systems = list(dict.fromkeys(system for _, system in family.runs))
    for method, runs in family.runs.items():
        rule, system = method
        scores = [100 * runs[value].score_of_task for value in family.values]
        errors = [196 * (runs[value].binomial_stderr or 0) for value in family.values]
        # Colours tell systems apart where there are several, else rules.
        number = systems.index(system) if len(systems) > 1 else rules.index(rule)
        panel.errorbar(
            list(marks),
            scores,
            yerr=errors,
            color=COLOURS[number % len(COLOURS)],
            linestyle="--" if system == BASE and len(systems) > 1 else "-",
            marker=_MARKERS[rules.index(rule) % len(_MARKERS)],
            markersize=5,
            capsize=2,
            elinewidth=0.7,
            label=one_line(method_name(family, method)),
        )
        for mark, value, score in zip(marks, family.values, scores, strict=True):
            panel.annotate(
                str(places[value][method]), (mark, score), xytext=(6, 3), textcoords="offset points", fontsize=8
            )
    panel.set_xticks(list(marks), [one_line(value) for value in family.values])
    panel.set_xlim(-0.3, len(family.values) - 0.6)
    panel.set_xlabel(f"{family.axis} (number beside a point: its rank; bar: 95% interval of the accuracy alone)")
    panel.set_ylabel("accuracy, %")
    panel.set_title(one_line(f"{place_of(family)}: {ranking(family)}"), fontsize=9)
    panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
