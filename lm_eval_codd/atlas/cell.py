"""A published cell: a figure, what it is of, and the settings that its source states."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lm_eval_codd.terminal.clean_text import shortened

__all__ = ["COMPLETE", "PERCENT", "UP_TO_METRIC", "Cell", "Remeasured", "make_cell"]

# What a source states: all settings, all but which metric the figure is, or not all.
COMPLETE: Final = "yes"
UP_TO_METRIC: Final = "up to the metric"
INCOMPLETE: Final = "no"
PERCENT: Final = "percent"

_ID: Final = re.compile(r"[A-Za-z0-9._+-]+")
_NO_COUNT: Final = "NOT "
_SUSPECT: Final = "suspect"


@dataclass(frozen=True)
class Remeasured:
    """What somebody else measured for a cell; without `differs`, nominally under the same settings.

    `value` is in the cell's unit, or in words.
    """

    by: str
    value: float | str
    where: str = ""
    differs: str = ""

    def __str__(self) -> str:
        """Whose figure, or whose words, without where they stand."""
        return f"{self.by}: {self.value}" if isinstance(self.value, str) else f"{self.by} has {self.value}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A published figure.

    Attributes:
        id: unique over all sources.
        model: hub id, or words where there is none.
        method: in words.
        benchmark, harness, task, shots, template, metric: what was asked, and by which code; None where not stated.
            `task` is the name in that harness.
        settings: as its authors state them, by this project's names or theirs.
        value: in `unit`, which is percent for a share of `n` documents.
        decimals: that are printed.
        band: what counts as the figure; None for half a unit of the last printed digit each way.
        check: whether the figure is some k of n, in words.
        where: table or file.
        complete: `yes`, `up to the metric` (one run gives every candidate) or `no`.
        unknown: settings that change the figure and that the source does not state; `minor`: those that seldom do.
        reproduces: what others measured.
        run: flags of the launcher, in place of those that follow from model, task and settings.
        lm_eval: arguments of lm-eval's own command, where the launcher has none.
        cannot: why nothing here runs it; empty where something may.
        metrics: lm-eval's names ("metric,filter") of what the figure may be; empty where they follow from the task.
        tasks: lm-eval's tasks of which the figure is the unweighted mean; empty for one over all answers.
    """

    id: str
    model: str
    method: str
    benchmark: str
    value: float
    harness: str = ""
    task: str | None = None
    shots: int | None = None
    template: str | None = None
    metric: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    unit: str = PERCENT
    n: int | None = None
    decimals: int | None = None
    band: tuple[float, float] | None = None
    check: str = ""
    where: str = ""
    complete: str = INCOMPLETE
    unknown: tuple[str, ...] = ()
    minor: tuple[str, ...] = ()
    note: str = ""
    reproduces: tuple[Remeasured, ...] = ()
    run: Mapping[str, Any] = field(default_factory=dict)
    lm_eval: Mapping[str, Any] = field(default_factory=dict)
    cannot: str = ""
    metrics: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    @property
    def is_implausible(self) -> bool:
        """Whether no number of right answers prints as this figure."""
        return self.check.startswith(_NO_COUNT)

    @property
    def is_suspect(self) -> bool:
        """Whether the figure is probably not what its place says."""
        return any(part.startswith(_SUSPECT) for part in self.note.split("; "))

    @property
    def bounds(self) -> tuple[float, float]:
        """What counts as the figure, in its unit."""
        if self.band is not None:
            return self.band
        half = 0.5 * 10.0 ** -(1 if self.decimals is None else self.decimals)
        return self.value - half, self.value + half

    @property
    def figure(self) -> str:
        """As printed: `45.9`, or `23.21 perplexity`."""
        text = f"{self.value:.{self.decimals}f}" if self.decimals is not None else f"{self.value:g}"
        return text if self.unit == PERCENT else f"{text} {self.unit}"


def make_cell(data: Any, file: str) -> Cell:
    """A cell from its mapping in a file of a source.

    Raises:
        ValueError: one line with the file, the cell and what is wrong with it.
    """
    where = f"{file}: a cell"
    if not isinstance(data, Mapping) or not isinstance(data.get("id"), str) or not _ID.fullmatch(data["id"]):
        raise ValueError(f"{where} has no `id` of letters, digits and `._+-`: {shortened(data)}")
    where = f"{file}: {data['id']}"
    known = {*_SAME, "task", "printed", "printed_decimals", "reproduces", "k", "read", "tokens_per_second"}
    if beyond := sorted(str(key) for key in data.keys() - known):
        raise ValueError(f"{where} has `{beyond[0]}`, which no cell has")
    task = data.get("task")
    if not isinstance(task, Mapping) or not isinstance(task.get("benchmark"), str):
        raise ValueError(f"{where} has no `task` with a `benchmark`")
    told = {name: data[name] for name in _SAME if data.get(name) is not None}
    told |= {name: task[key] for key, name in _OF_TASK.items() if task.get(key) is not None}
    told["decimals"] = data.get("printed_decimals")
    for name, kinds in _KINDS.items():
        if name in told and told[name] is not None and not _is(told[name], kinds):
            raise ValueError(f"{where}: `{name}` is {shortened(told[name])}, which is not {_named(kinds)}")
    if missing := [name for name in ("model", "method", "value") if told.get(name) is None]:
        raise ValueError(f"{where} has no `{missing[0]}`")
    if told.get("complete", INCOMPLETE) not in (COMPLETE, UP_TO_METRIC, INCOMPLETE):
        raise ValueError(f"{where}: `complete` is {told['complete']}; it is yes, up to the metric, or no")
    told |= {name: tuple(str(one) for one in told[name]) for name in ("unknown", "minor", "metrics") if name in told}
    if "band" in told:
        told["band"] = _band(told["band"], where)
    others = data.get("reproduces") or []
    try:
        told["reproduces"] = tuple(Remeasured(**{k: one[k] for k in _OF_OTHERS if k in one}) for one in others)
    except (TypeError, KeyError):
        raise ValueError(f"{where}: `reproduces` is not a list of {', '.join(_OF_OTHERS)}") from None
    return Cell(**told)


_SAME: Final = (
    *("id", "model", "method", "settings", "value", "unit", "n", "band", "check", "where", "complete", "unknown"),
    *("minor", "note", "run", "lm_eval", "cannot", "metrics"),
)
_OF_TASK: Final[Mapping[str, str]] = {
    **{name: name for name in ("benchmark", "harness", "shots", "template", "metric")},
    "name": "task",
}
_OF_OTHERS: Final = ("by", "value", "where", "differs")
_TEXTS: Final = ("model", "method", "unit", "check", "where", "complete", "note", "cannot", "benchmark", "harness")
_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys((*_TEXTS, "task", "template", "metric"), (str,)),
    **dict.fromkeys(("settings", "run", "lm_eval"), (Mapping,)),
    **dict.fromkeys(("unknown", "minor", "metrics", "band"), (list, tuple)),
    **dict.fromkeys(("n", "shots", "decimals"), (int,)),
    "value": (int, float),
}
_NAMES: Final = {str: "text", Mapping: "a mapping", list: "a list", int: "a whole number", float: "a number"}


def _is(value: object, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, kinds) and (not isinstance(value, float) or math.isfinite(value))


def _named(kinds: tuple[type, ...]) -> str:
    return _NAMES[float] if float in kinds else _NAMES[kinds[0]]


def _band(value: Any, where: str) -> tuple[float, float]:
    if len(value) != 2 or not all(_is(one, (int, float)) for one in value) or value[0] > value[1]:
        raise ValueError(f"{where}: `band` is {shortened(value)}, which is not two numbers, the lower first")
    return float(value[0]), float(value[1])
