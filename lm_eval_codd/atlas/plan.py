"""`--paper SOURCE[:CELL,...]`: which of a source's cells are run, and why the others are not."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lm_eval_codd.atlas.cell import COMPLETE, UP_TO_METRIC
from lm_eval_codd.atlas.recipe import Recipe, candidates, recipe_of
from lm_eval_codd.atlas.source import chosen_cells, read_source, source_names
from lm_eval_codd.atlas.unstated import METRIC, names_of
from lm_eval_codd.runs.run import is_own_task
from lm_eval_codd.task_files import read_task_file, task_files

if TYPE_CHECKING:
    from lm_eval_codd.atlas.cell import Cell
    from lm_eval_codd.atlas.source import Source

__all__ = ["Plan", "Planned", "count_cells", "plan_cells", "refuse_assumed"]

_NOTHING: Final[Mapping[str, str]] = {}


@dataclass(frozen=True)
class Planned:
    """A cell and how it is run."""

    source: str
    cell: Cell
    recipe: Recipe

    @property
    def label(self) -> str:
        """`llada:llada-base.gsm8k.pure1024`, as `--paper` takes it."""
        return f"{self.source}:{self.cell.id}"

    @property
    def candidates(self) -> tuple[str, ...]:
        """lm-eval's names of what the figure may be; empty for what the task reports."""
        return self.cell.metrics if self.recipe.run is None else candidates(self.cell, self.recipe.run)

    @property
    def unverified(self) -> str:
        """What of this package's task for it was not held against the source's own code; empty for nothing."""
        run = self.recipe.run
        return _unverified_of(run.task) if run is not None and is_own_task(run.task) else ""


@dataclass(frozen=True)
class Plan:
    """Cells by what becomes of them.

    Attributes:
        all: every one, in the order asked for.
        ready: those that the launcher runs.
        by_lm_eval: those that lm-eval's own command runs.
        refused: those whose settings are known and that nothing here runs.
        unstated: those whose source leaves something unsaid that was not assumed.
    """

    all: Sequence[Planned] = ()
    ready: Sequence[Planned] = ()
    by_lm_eval: Sequence[Planned] = ()
    refused: Sequence[Planned] = ()
    unstated: Sequence[Planned] = ()


def plan_cells(texts: Iterable[str], assumed: Mapping[str, str] = _NOTHING) -> Plan:
    """The cells of each `SOURCE` or `SOURCE:CELL,...`, each once.

    Args:
        texts: as `--paper` has them.
        assumed: values for what a source leaves unsaid, by flag.

    Raises:
        ValueError: one line: there is no such source or cell, or an assumption is as of `refuse_assumed`.
    """
    chosen: dict[str, Planned] = {}
    for text in texts:
        source, cells = chosen_cells(text)
        for cell in cells:
            planned = Planned(source.name, cell, recipe_of(source, cell, assumed))
            chosen[planned.label] = planned
    all_cells = list(chosen.values())
    refuse_assumed(all_cells, assumed)
    return Plan(
        all=all_cells,
        ready=[one for one in all_cells if one.recipe.run is not None],
        by_lm_eval=[one for one in all_cells if one.recipe.lm_eval and one.recipe.run is None],
        refused=[one for one in all_cells if one.recipe.refusal],
        unstated=[one for one in all_cells if one.recipe.unstated],
    )


def refuse_assumed(cells: Iterable[Planned], assumed: Mapping[str, str]) -> None:
    """Raise `ValueError`, one line, for an assumption that no cell asks for, or whose value no run of one takes."""
    recipes = [planned.recipe for planned in cells]
    for name, value in assumed.items():
        taking = [recipe for recipe in recipes if name in recipe.assumed]
        if not taking:
            raise ValueError(f"`--assume {name}`: no chosen cell leaves it unsaid; leave it out")
        about = [recipe.refusal for recipe in taking if recipe.refusal.startswith((f"`{name}=", f"`--{name} "))]
        if about and not any(recipe.is_ready for recipe in taking):
            raise ValueError(f"`--assume {name}={value}`: {about[0]}")


@functools.cache
def _unverified_of(task: str) -> str:
    path = task_files().names.get(task)
    metadata = read_task_file(path).get("metadata") if path is not None else None
    return str((metadata or {}).get("unverified", ""))


def assumable(phrases: Iterable[str]) -> tuple[str, ...] | None:
    """The flags that would say all of this; None where no flag says one of it."""
    names = [names_of(phrase) for phrase in phrases]
    if not all(names):
        return None
    return tuple(dict.fromkeys(name for several in names for name in several if name != METRIC))


def count_cells(source: Source) -> dict[str, int]:
    """How many cells a source has, of each kind: `cells`, `complete`, `up to the metric`, `run`, `implausible`."""
    plan = plan_cells([source.name])
    return {
        "cells": len(source.cells),
        "complete": sum(cell.complete == COMPLETE for cell in source.cells),
        "up to the metric": sum(cell.complete == UP_TO_METRIC for cell in source.cells),
        "run": len(plan.ready) + len(plan.by_lm_eval),
        "implausible": sum(cell.is_implausible for cell in source.cells),
    }


def all_sources() -> list[Source]:
    """Every source, by name."""
    return [read_source(name) for name in source_names()]
