"""The tables of the CoDD paper: every cell as k right answers of n, and as a cell like those of other sources."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.atlas.cell import COMPLETE, INCOMPLETE, Cell
from lm_eval_codd.catalogue import BASE, DEFAULT_CHECKPOINTS, TASKS, task_name
from lm_eval_codd.runs.paper import table_sweeps
from lm_eval_codd.runs.yaml_file import read_yaml
from lm_eval_codd.terminal.clean_text import one_line, shortened

__all__ = ["PublishedCell", "cells_of_tables", "read_published"]

FILE: Final = "codd_tables.yaml"
SUSPECT: Final = "suspect"
_PRINTED_DECIMALS: Final = 2
# Chosen on the test set itself, or not said how.
_CHOSEN: Final = "pc_frac and pc_temperature (the best of a grid on the test set)"
_NO_CIRCUIT: Final = "circuit (none is published for this benchmark)"
# Tables whose sweeps name the circuits of a family.
_WITH_CIRCUITS: Final = ("table1", "table2")


@dataclass(frozen=True, kw_only=True)
class PublishedCell:
    """A published accuracy.

    Attributes:
        system: `base` or `CoDD`, as tables of runs name them.
        pc_frac, pc_temperature: of a cell of an ablation; None elsewhere.
        percent: as printed.
        n: documents of the benchmark.
        remarks: why to read it with care (`suspect: ...`, `best of grid`).

    Raises:
        ValueError: a number is none, or a text is none.
    """

    table: str
    family: str
    paradigm: str
    system: str
    alg: str
    benchmark: str
    steps: int
    pc_frac: float | None = None
    pc_temperature: float | None = None
    percent: float
    n: int
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("table", "family", "paradigm", "system", "alg", "benchmark"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"the {name} of a cell is {shortened(getattr(self, name))}")
        for name in ("pc_frac", "pc_temperature"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int | float) or not math.isfinite(value)):
                raise ValueError(f"the {name} of a cell of {self.table} is {shortened(value)}")
        if not all(isinstance(remark, str) for remark in self.remarks):
            raise ValueError(f"a mark of {self.label} is no text")
        for name, kinds, least in (("steps", int, 1), ("n", int, 1), ("percent", (int, float), 0)):
            value = getattr(self, name)
            if not isinstance(value, kinds) or isinstance(value, bool) or not least <= value < math.inf:
                raise ValueError(f"the {name} of {self.label} is {shortened(value)}")

    @property
    def correct(self) -> int:
        """The right answers that the printed figure stands for."""
        return round(self.percent / 100 * self.n)

    @property
    def is_rounded(self) -> bool:
        """Whether no k / n prints as this figure: it was rounded more than its decimals say."""
        return abs(self.percent - 100 * self.correct / self.n) > 0.5 * 10**-_PRINTED_DECIMALS + 1e-9

    @property
    def is_suspect(self) -> bool:
        """Whether the figure is probably not what its place in the table says."""
        return any(remark.startswith(SUSPECT) for remark in self.remarks)

    @property
    def marks(self) -> tuple[str, ...]:
        """All remarks, with `rounded` where no k / n prints as the figure."""
        return (*self.remarks, *(["rounded"] if self.is_rounded else []))

    @property
    def label(self) -> str:
        """`table1 CoDD margin gsm8k 64`, with the point of the grid in an ablation."""
        point = "" if self.pc_frac is None else f" pc_frac={self.pc_frac:g} pc_temperature={self.pc_temperature:g}"
        return f"{self.table} {self.system} {self.alg} {self.benchmark} {self.steps}{point}"


def read_published(path: Path, data: Mapping[str, Any] | None = None) -> list[PublishedCell]:
    """The accuracies of a file like `results/paper/codd_tables.yaml`, whose content may be given when it was read.

    Raises:
        ValueError: the file is not such a one; the message says what is missing.
    """
    data = read_yaml(path) if data is None else data
    benchmarks, tables = data.get("benchmarks"), data.get("tables")
    if not benchmarks or not isinstance(tables, Mapping):
        raise ValueError(f"{path} has no `benchmarks` with their `rows`, or no `tables`; it is no file of references")
    marks = data.get("marks") or []
    try:
        rows = {name: benchmark["rows"] for name, benchmark in benchmarks.items()}
        return [
            PublishedCell(**cell, n=rows[cell["benchmark"]], remarks=_remarks(cell, marks, table["model"]))
            for name, table in tables.items()
            for cell in (*_accuracies(name, table), *_grid(name, table))
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is not laid out like the published tables: {one_line(error)}") from None


def cells_of_tables(path: Path) -> tuple[dict[str, str], tuple[Cell, ...]]:
    """What is known of the paper, and its accuracies as cells of the atlas, each with the run that would give it.

    Raises:
        ValueError: as `read_published`.
    """
    data = read_yaml(path)
    about = {"title": "CoDD (Breaking the Factorization Barrier)", "where": str(data.get("source"))}
    circuits = {
        (point["model_alias"], point["task"]): point["pc_ckpt"]
        for table in _WITH_CIRCUITS
        for sweep in table_sweeps(table)
        for point in sweep.points()
        if "pc_ckpt" in point
    }
    return about, tuple(_as_cell(cell, circuits) for cell in read_published(path, data))


def _as_cell(cell: PublishedCell, circuits: Mapping[tuple[str, str], str]) -> Cell:
    point = {"pc_frac": cell.pc_frac, "pc_temperature": cell.pc_temperature}
    settings: dict[str, Any] = {"paradigm": cell.paradigm, "alg": cell.alg, "num_steps": cell.steps}
    unknown: tuple[str, ...] = ()
    if cell.system != BASE:
        circuit = circuits.get((cell.family, cell.benchmark))
        settings |= {name: value for name, value in point.items() if value is not None}
        settings |= {} if circuit is None else {"pc_ckpt": circuit}
        unknown += (_NO_CIRCUIT,) if circuit is None else ()
        unknown += (_CHOSEN,) if cell.pc_frac is None else ()
    parts = [cell.table, cell.system.lower(), cell.alg, cell.benchmark, cell.steps]
    parts += [f"{value:g}" for value in point.values() if value is not None]
    return Cell(
        id=".".join(map(str, parts)),
        model=DEFAULT_CHECKPOINTS[cell.family],
        method=f"{cell.system}, {cell.alg}",
        benchmark=cell.benchmark,
        harness="lm-eval, tasks of the authors",
        task=task_name(cell.benchmark),
        shots=0,
        template="chat",
        metric=TASKS[cell.benchmark].paper_metric,
        settings=settings,
        value=cell.percent,
        n=cell.n,
        decimals=_PRINTED_DECIMALS,
        check=f"NOT k/{cell.n} rounded" if cell.is_rounded else "ok",
        where=cell.table,
        complete=INCOMPLETE if unknown else COMPLETE,
        unknown=unknown,
        minor=("seed",),
        note="; ".join(cell.remarks),
        run={"model_alias": cell.family, "task": cell.benchmark, **settings},
    )


def _accuracies(name: str, table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row in table.get("rows", ()):
        for benchmark, by_steps in row.get("acc", {}).items():
            for steps, percent in by_steps.items():
                yield {
                    "table": name,
                    "family": table["model"],
                    "paradigm": table["paradigm"],
                    "system": BASE if row["system"] == table["model"] else "CoDD",
                    "alg": row["alg"],
                    "benchmark": benchmark,
                    "steps": steps,
                    "percent": percent,
                }


def _grid(name: str, table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for cell in table.get("cells", ()):
        yield {
            "table": name,
            "family": table["model"],
            "paradigm": table["paradigm"],
            "system": "CoDD",
            "alg": cell["alg"],
            "benchmark": table["benchmark"],
            "steps": cell["steps"],
            "pc_frac": cell["pc_frac"],
            "pc_temperature": cell["pc_temperature"],
            "percent": cell["acc"],
        }


def _remarks(cell: Mapping[str, Any], marks: list[Mapping[str, Any]], model: str) -> tuple[str, ...]:
    written = {**cell, "system": model if cell["system"] == BASE else "codd"}
    found = []
    for mark in marks:
        selector = {name: value for name, value in mark.items() if name not in ("mark", "why")}
        if all(
            written.get(name) in (value if isinstance(value, list) else [value]) for name, value in selector.items()
        ):
            found.append(f"{mark['mark']}: {mark['why']}" if "why" in mark else mark["mark"])
    return tuple(found)
