"""The same comparison under several prompt templates, or with several seeds: does it hold, and by how much?

Two runs are compared within a template (or a seed), over the same rendered prompts. Over all of them the differences of
a document are one cluster: they are answers to one question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Final

from lm_eval_codd.reporting.cells import BASE, Column
from lm_eval_codd.reporting.clustered import Estimate, clustered_mean
from lm_eval_codd.reporting.protocol import protocol_of, title_of
from lm_eval_codd.reporting.samples import Key, Outcomes, different_items, read_outcomes
from lm_eval_codd.settings import DecodingConfig

if TYPE_CHECKING:
    from lm_eval_codd.reporting.cells import Group
    from lm_eval_codd.reporting.run import Run

__all__ = ["AXES", "Family", "Method", "Versus", "compare", "families", "ranks"]

# What a run may be repeated over, the value of a run that does not say, and its plural.
AXES: Final[Mapping[str, tuple[str | None, str]]] = {"template": ("paper", "templates"), "seed": (None, "seeds")}

# A row of tables: rule and system.
Method = tuple[str, str]


@dataclass(frozen=True)
class Family:
    """The runs of one protocol but for an axis, on one benchmark at one schedule.

    Attributes:
        axis: `template` or `seed`.
        title: of the protocol, without the axis.
        column: benchmark and schedule.
        runs: by method, then by the axis' value; every method has all of `values`.
        values: of the axis, the default first.
        remarks: on scores that are the best of several runs.
    """

    axis: str
    title: str
    column: Column
    values: tuple[str, ...]
    runs: Mapping[Method, Mapping[str, Run]]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Versus:
    """The second method less the first.

    Attributes:
        differences: by value of the axis, as shares; a text says why two runs could not be compared.
        over_all: the mean difference, clustered by document; None where not all could be compared.
    """

    first: Method
    second: Method
    differences: Mapping[str, Estimate | str]
    over_all: Estimate | None

    @property
    def wins(self) -> int:
        """Values of the axis under which the second is better, by whatever."""
        return sum(isinstance(found, Estimate) and found.mean > 0 for found in self.differences.values())


def families(groups: Sequence[Group]) -> Iterator[Family]:
    """Every set of methods that were run under the same two or more templates, or seeds."""
    for axis in AXES:
        sets: dict[tuple[object, Column], dict[Method, dict[str, Run]]] = {}
        bests = {id(cell.run): len(cell.grid) for group in groups for cell in group.cells.values()}
        for group in groups:
            for key, cell in group.cells.items():
                if cell.run is not None and not (axis == "seed" and cell.run.estimator is not None):
                    value, rest = _split(cell.run, axis)
                    place = (tuple(rest.items()), key.column)
                    sets.setdefault(place, {}).setdefault((key.alg, key.system), {})[value] = cell.run
        for (_, column), methods in sets.items():
            yield from _family(axis, column, methods, bests)


def _split(run: Run, axis: str) -> tuple[str, dict[str, object]]:
    """The axis' value and the rest of the protocol."""
    protocol = protocol_of(run)
    usual, _ = AXES[axis]
    return str(protocol.pop(axis, usual)), protocol


def _family(
    axis: str, column: Column, methods: Mapping[Method, Mapping[str, Run]], bests: Mapping[int, int]
) -> Iterator[Family]:
    """Of the methods that were run under the most values all of which they share."""
    usual, _ = AXES[axis]
    most = max(methods.values(), key=len)
    values = [value for value in most if all(value in runs for runs in methods.values() if len(runs) > 1)]
    if len(values) < 2:
        return
    kept = {method: runs for method, runs in methods.items() if all(value in runs for value in values)}
    ordered = tuple(sorted(values, key=lambda value: (value != usual, len(value) if axis == "seed" else 0, value)))
    run = _without(axis, next(iter(kept.values()))[ordered[0]])
    title = title_of(protocol_of(run), run)
    order = dict(sorted(kept.items(), key=lambda item: (item[0][0], item[0][1] != BASE, item[0][1])))
    remarks = [
        f"{system} under {value}: the best of {bests[id(runs[value])]} settings of pc_frac and pc_temperature on the "
        "test set"
        for (_, system), runs in order.items()
        for value in ordered
        if bests[id(runs[value])] > 1
    ]
    yield Family(axis, title, column, ordered, order, tuple(dict.fromkeys(remarks)))


def _without(axis: str, run: Run) -> Run:
    """The run as if it had the axis' default, for what its family is called."""
    others = {name: value for name, value in run.task_arguments.items() if name != axis}
    settings = {**run.settings, "seed": DecodingConfig.seed} if axis == "seed" else run.settings
    return replace(run, task_arguments=others, settings=settings)


def compare(family: Family) -> list[Versus]:
    """Every two methods that differ in their system alone or in their rule alone, the base first."""
    pairs = [(a, b) for a, b in combinations(family.runs, 2) if (a[0] == b[0]) != (a[1] == b[1])]
    return [_versus(family, *pair) for pair in pairs]


def ranks(family: Family) -> dict[str, dict[Method, int]]:
    """Place of each method under each value, 1 the best; equal accuracies share a place."""
    found = {}
    for value in family.values:
        scores = {method: runs[value].score_of_task for method, runs in family.runs.items()}
        found[value] = {m: 1 + sum(other > score for other in scores.values()) for m, score in scores.items()}
    return found


def _versus(family: Family, first: Method, second: Method) -> Versus:
    differences: dict[str, Estimate | str] = {}
    clusters: dict[tuple[int, str], list[float]] = {}
    for value in family.values:
        found = _changes(family.runs[first][value], family.runs[second][value])
        if isinstance(found, str):
            differences[value] = found
            continue
        differences[value] = clustered_mean([change] for change in found.values())
        for key, change in found.items():
            clusters.setdefault((key.doc_id, key.doc_hash), []).append(change)
    whole = all(isinstance(found, Estimate) for found in differences.values())
    return Versus(first, second, differences, clustered_mean(clusters.values()) if whole else None)


def _changes(first: Run, second: Run) -> dict[Key, float] | str:
    """The second's score less the first's by item, or why there is none."""
    if first.metric != second.metric:
        return f"their metrics differ: {first.metric} and {second.metric}"
    try:
        before, after = read_outcomes(first), read_outcomes(second)
    except ValueError as error:
        return str(error)
    return different_items(before, after) or _subtracted(before, after)


def _subtracted(before: Outcomes, after: Outcomes) -> dict[Key, float]:
    return {key: after[key] - before[key] for key in sorted(before.keys() & after.keys())}
