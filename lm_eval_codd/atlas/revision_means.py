"""Published means of the Code Revision Benchmark, whose file has a layout of its own, also as cells of the atlas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.atlas.cell import COMPLETE, Cell
from lm_eval_codd.catalogue import TASK_PREFIX
from lm_eval_codd.code_revision.scopes import FILTER, METRICS, SCOPES, Scope
from lm_eval_codd.runs.yaml_file import read_yaml
from lm_eval_codd.terminal.clean_text import one_line

__all__ = ["PublishedMeans", "cells_of_means", "is_revision", "read_revision"]

_KIND: Final = "code_revision"
# The group of tasks that has a scope's cells: those with one corrupted token, or all.
_GROUPS: Final[Mapping[str, str]] = {"n=1": f"{TASK_PREFIX}crb_1"}
_ALL: Final = f"{TASK_PREFIX}crb"
_PRINTED_DECIMALS: Final = 2


@dataclass(frozen=True)
class PublishedMeans:
    """A file of published means.

    Attributes:
        settings: what the runs were made with.
        programs: how many each scope has, where that is known.
        models: of each checkpoint the means by scope and name, as `METRICS` and `SCOPES` call them.
    """

    settings: Mapping[str, Any]
    programs: Mapping[str, int]
    models: Mapping[str, Mapping[str, Mapping[str, float]]]


def is_revision(data: Mapping[str, Any]) -> bool:
    """Whether a file of references is of this benchmark."""
    return data.get("benchmark") == _KIND


def read_revision(path: Path, data: Mapping[str, Any]) -> PublishedMeans:
    """A file like `results/paper/code_revision.yaml`. Raises `ValueError`, one line, for another."""
    try:
        models = {model["checkpoint"]: model["scores"] for model in data["models"]}
        titles = [scope.title for scope in SCOPES]
        for scores in models.values():
            for title, figures in scores.items():
                if title not in titles or not figures.keys() <= METRICS.keys():
                    raise ValueError(f"`{title}: {', '.join(figures)}` are no cells or metrics of this benchmark")
                for name, value in figures.items():
                    if not isinstance(value, float) or not -1 <= value <= 1:
                        raise ValueError(f"{title}, {name} is {value!r}, which is no share")
        return PublishedMeans(dict(data["settings"]), dict(data["programs"]), models)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is not laid out like published means over cells: {one_line(error)}") from None


def cells_of_means(path: Path) -> tuple[Cell, ...]:
    """Every published mean as a cell. Raises `ValueError`, one line, as `read_revision` does."""
    return tuple(_cells(read_revision(path, read_yaml(path))))


def _cells(published: PublishedMeans) -> Iterator[Cell]:
    for checkpoint, scores in published.models.items():
        for scope in SCOPES:
            for name, share in scores.get(scope.title, {}).items():
                yield _cell(published, checkpoint, scope, name, share)


def _cell(published: PublishedMeans, checkpoint: str, scope: Scope, name: str, share: float) -> Cell:
    group = _GROUPS.get(scope.title, _ALL)
    label = scope.title.replace(", all n", "").replace(" ", "-").replace("=", "").replace("+", "-plus")
    return Cell(
        id=f"crb.{checkpoint.rpartition('/')[2].lower()}.{label}.{name.replace('=', '').replace('@', '')}",
        model=checkpoint,
        method="corrective refinement",
        benchmark=_KIND,
        harness="own (evaluation/crb)",
        task=group,
        shots=0,
        template="none",
        metric=f"{name}, unweighted mean over {len(scope.cells)} cells",
        settings=published.settings,
        value=round(100 * share, _PRINTED_DECIMALS),
        decimals=_PRINTED_DECIMALS,
        n=published.programs.get(scope.title),
        where="evaluation/crb, README",
        complete=COMPLETE,
        minor=("GPU model (an A100), bfloat16",),
        run={
            **{"model_alias": "masked_lm", "family": "open_dllm", "masked_lm_ckpt": checkpoint, "task": group},
            **{"num_shot": 0, "chat_template": "false", **published.settings},
        },
        metrics=(f"{METRICS[name]},{FILTER}",),
        tasks=tuple(f"{TASK_PREFIX}{cell.slug}" for cell in scope.cells),
    )
