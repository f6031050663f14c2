"""Measured figures: what a row of the table is, how the table is printed, and the JSON that keeps every figure."""

from __future__ import annotations

import json
import math
import operator
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import machine

_COMPARISONS: Final = {">=": operator.ge, "<=": operator.le, "=": operator.eq}
_DIGITS: Final = 4


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        name: dotted, as in the JSON: `decode.samples_per_second_ratio`.
        value: the figure, or a word.
        unit: of the figure: `x`, `s`, `ms`, `%`, `tokens/s`.
        goal: what it is held against, such as `>= 30`, `<= 5` or `= 0`; empty when there is none.
        note: how it was measured, where that is not plain.
    """

    name: str
    value: float | str
    unit: str = ""
    goal: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the figure reaches its goal; None where there is no goal.

        Raises:
            ValueError: the goal is not a comparison with a number.
        """
        if not self.goal:
            return None
        sign, _, bound = self.goal.partition(" ")
        try:
            return bool(_COMPARISONS[sign](self.value, float(bound)))
        except (KeyError, ValueError, TypeError):
            raise ValueError(f"`goal={self.goal}` of `{self.name}` must be >=, <= or =, a space and a number") from None

    @property
    def verdict(self) -> str:
        """The goal and whether it is met, for a reader."""
        return "" if self.met is None else f"{self.goal} {'met' if self.met else 'MISSED'}"


def say(what: str) -> None:
    """Tell whoever waits what is being measured; the table alone goes to standard output."""
    print(f"{what} ...", file=sys.stderr, flush=True)


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    cells = [("figure", "value", "", "goal", "note")]
    cells += [(row.name, _spell(row.value), row.unit, row.verdict, row.note) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    for name, value, unit, goal, note in cells:
        line = f"{name:<{widths[0]}}  {value:>{widths[1]}} {unit:<{widths[2]}}  {goal:<{widths[3]}}  {note}"
        print(line.rstrip())


def write_json(rows: Sequence[Row], path: str | Path, command: Sequence[str] = ()) -> None:
    """Write the figures, nested by the dots of their names, with the command and the machine that gave them.

    Raises:
        ValueError: one name is the beginning of another, or is there twice.
    """
    figures: dict[str, Any] = {}
    for row in rows:
        *parents, last = row.name.split(".")
        place = figures
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ValueError(f"figure `{row.name}` lies below another figure; rename one of them")
        if last in place:
            raise ValueError(f"figure `{row.name}` is there twice, or has others below it; rename one of them")
        place[last] = _round(row.value)
    about = {
        row.name: {"unit": row.unit, "goal": row.goal, "met": row.met, "note": row.note}
        for row in rows
        if row.unit or row.goal or row.note
    }
    content = {**figures, "about": about, "command": shlex.join(command), "machine": machine()}
    Path(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _spell(value: float | str) -> str:
    value = _round(value)
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    if value and abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{_DIGITS}g}"


def _round(value: float | str) -> float | str:
    """Four significant digits; no measurement here is better than that."""
    if not isinstance(value, float) or not math.isfinite(value):
        return value
    return float(f"{value:.{_DIGITS}g}")
