"""Measured figures: what a row of the table is, how the table is printed, and the JSON that keeps every figure."""

from __future__ import annotations

import json
import math
import operator
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.models.code_version import code_version
from lm_eval_codd.terminal.columns import aligned

_COMPARISONS: Final = {">=": operator.ge, "<=": operator.le, "=": operator.eq}
_DIGITS: Final = 4


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        name: dotted: `decode.samples_per_second_ratio`.
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


def say(what: str) -> None:
    """Tell whoever waits what is being measured; the table alone goes to standard output."""
    print(f"{what} ...", file=sys.stderr, flush=True)


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    verdicts = {None: "", True: "met", False: "MISSED"}
    cells = [[row.name, _spell(row.value), row.unit, f"{row.goal} {verdicts[row.met]}", row.note] for row in rows]
    print("\n".join(aligned([["figure", "value", "", "goal", "note"], *cells], right=(1,))))


def write_json(rows: Sequence[Row], path: str | Path, command: Sequence[str] = ()) -> None:
    """Write the figures by name, with the command and the machine that gave them."""
    figures = {row.name: {**asdict(row), "value": _round(row.value), "met": row.met} for row in rows}
    content = {"command": shlex.join(command), "machine": _machine(), "figures": figures}
    Path(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _machine() -> dict[str, Any]:
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.is_file() else []
    return {
        "processor": names[0].partition(":")[2].strip() if names else platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "lm_eval")},
        "code": code_version(),
    }


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
