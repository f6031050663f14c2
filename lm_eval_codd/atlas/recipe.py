"""How a published cell is run here: its run, or in one line why there is none."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.atlas.settings import flags_of_settings, with_steps_of_blocks
from lm_eval_codd.atlas.unstated import METRIC, left_to_a_default, names_of
from lm_eval_codd.catalogue import CHECKPOINT_FLAGS, TASKS
from lm_eval_codd.registration import paper_dir
from lm_eval_codd.runs.flags import convert
from lm_eval_codd.runs.make_run import make_run
from lm_eval_codd.runs.run_flags import KIND_OF_FLAG
from lm_eval_codd.runs.unconditional import KINDS
from lm_eval_codd.runs.yaml_file import read_yaml
from lm_eval_codd.task_files import task_files

if TYPE_CHECKING:
    from lm_eval_codd.atlas.cell import Cell
    from lm_eval_codd.atlas.source import Source
    from lm_eval_codd.runs.run import Run

__all__ = ["Recipe", "candidates", "recipe_of"]

_NONE: Final[Mapping[str, str]] = {}
_STOCK: Final = "stock:"
_HOST: Final = "lm-eval"
_BY_TURNS: Final = "one turn per shot"


@dataclass(frozen=True)
class Recipe:
    """How a cell is run.

    Attributes:
        run: None where it is not.
        flags: of the run, with their values, as `runs.make_run` takes them.
        lm_eval: arguments of lm-eval's own command, where the source's cells are given so.
        refusal: why there is no run, in one line.
        unstated: what its source leaves unsaid, and what of it has not been assumed.
        assumed: flags that were, with their values as text.
    """

    run: Run | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)
    lm_eval: Mapping[str, Any] = field(default_factory=dict)
    refusal: str = ""
    unstated: tuple[str, ...] = ()
    assumed: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_ready(self) -> bool:
        """Whether something here runs it."""
        return self.run is not None or bool(self.lm_eval)


def recipe_of(source: Source, cell: Cell, assumed: Mapping[str, str] = _NONE) -> Recipe:
    """The cell's run. What its source leaves unsaid is taken from `assumed`; without that there is none.

    Args:
        source: whose cell it is.
        cell: what was published.
        assumed: values by the names of the launcher's flags; those that the source does state are passed over.
    """
    missing, taken = [], {}
    for phrase in (*cell.unknown, *left_to_a_default(cell)):
        names = [name for name in names_of(phrase) or ("",) if name != METRIC]
        taken.update({name: assumed[name] for name in names if name in assumed})
        if any(name not in assumed for name in names):
            missing.append(phrase)
    if cell.complete == "no" and not cell.unknown:
        missing.append("not said what")
    if missing:
        return Recipe(unstated=tuple(missing), assumed=taken)
    if cell.cannot:
        return Recipe(refusal=cell.cannot, assumed=taken)
    if cell.lm_eval:
        flags = _flags_of_lm_eval(cell.lm_eval)
        return Recipe(run=make_run(flags) if flags else None, flags=flags, lm_eval=cell.lm_eval, assumed=taken)
    try:
        flags = {
            **(cell.run or _flags(source, cell, taken)),
            **{n: convert(n, v, KIND_OF_FLAG[n]) for n, v in taken.items()},
        }
        return Recipe(run=make_run(flags), flags=flags, assumed=taken)
    except ValueError as error:
        return Recipe(refusal=str(error), assumed=taken)


def candidates(cell: Cell, run: Run) -> tuple[str, ...]:
    """lm-eval's names ("metric,filter") of what the cell's figure may be; empty for what the run's task reports."""
    if cell.metrics:
        return cell.metrics
    known = tuple(_mapping()["metrics"].get(run.task, ()))
    is_open = any(METRIC in names_of(phrase) for phrase in cell.unknown)
    if is_open or cell.complete == "up to the metric" or re.search("strict-match", " ".join(known[:1])):
        return known
    return known[:1]


def _flags_of_lm_eval(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Flags of the launcher for a command of lm-eval; none where it has no such model, or no flag for an argument."""
    alias, given = str(arguments.get("model")), dict(arguments.get("model_args") or {})
    if alias not in KINDS or arguments.keys() != {"model", "model_args", "tasks"}:
        return {}
    checkpoint = {CHECKPOINT_FLAGS[alias]: given.pop("pretrained")}
    return (
        {"model_alias": alias, **checkpoint, **given, "task": arguments["tasks"]}
        if given.keys() <= KIND_OF_FLAG.keys()
        else {}
    )


def _flags(source: Source, cell: Cell, assumed: Mapping[str, str]) -> dict[str, Any]:
    """Flags of the launcher for what the source states; raises `ValueError` for what there is no run of."""
    model = _mapping()["models"].get(cell.model)
    if model is None:
        raise ValueError(f"`{cell.model}` is no checkpoint that is known here")
    if cell.method in _mapping()["no_decoder"]:
        raise ValueError(f"`{cell.method}` has no decoder here")
    flags: dict[str, Any] = {**model, f"{model['model_alias']}_ckpt": cell.model}
    flags |= _flags_of_task(source, cell, assumed)
    flags |= _mapping()["methods"].get(cell.method, {})
    flags |= flags_of_settings(cell, model["model_alias"], model.get("family"), assumed)
    return with_steps_of_blocks(flags)


def _flags_of_task(source: Source, cell: Cell, assumed: Mapping[str, str]) -> dict[str, Any]:
    if "task" in assumed:
        return {} if cell.shots is None or assumed["task"] in TASKS else {"num_shot": cell.shots}
    if cell.task is None:
        raise ValueError(f"its prompts are of the source ({cell.harness or 'not named'}), and no task here has them")
    if (own := source.tasks.get(cell.task)) is not None:
        return _flags_of_stock_task(own, cell) if own.startswith(_STOCK) else _flags_of_own_task(own, cell)
    if _HOST not in cell.harness:
        raise ValueError(f"`{cell.task}` is a task of {cell.harness}, and no task here has its prompts")
    files = task_files()
    if files.names and cell.task not in files.names:
        raise ValueError(f"`{cell.task}` is a task of {cell.harness} alone, not of this lm-eval")
    return _flags_of_stock_task(f"{_STOCK}{cell.task}", cell)


def _flags_of_stock_task(name: str, cell: Cell) -> dict[str, Any]:
    """Of a task of lm-eval, whose examples and template are the cell's."""
    flags: dict[str, Any] = {"task": name}
    if cell.shots is not None:
        flags["num_shot"] = cell.shots
    if cell.template is not None:
        has_template = "chat" in cell.template
        flags["chat_template"] = str(has_template).lower()
        if has_template and cell.shots and _BY_TURNS not in cell.template:
            # As lm-eval did by itself when these figures were made.
            flags["fewshot_as_multiturn"] = False
    return flags


def _flags_of_own_task(name: str, cell: Cell) -> dict[str, Any]:
    """Of a task that has its protocol's prompts; what a cell has otherwise is said."""
    task = TASKS[name]
    if cell.template is not None and "chat" in cell.template and not task.chat_template:
        raise ValueError(f"its prompts go through a chat template, and those of {name} do not")
    if cell.shots is not None and cell.shots != task.examples and cell.shots > task.most_shots:
        raise ValueError(f"its prompts have {cell.shots} examples, and those of {name} have {task.examples}")
    has_no_template = task.chat_template and (cell.template or "").startswith("none")
    return {
        "task": name,
        **({"metadata": json.dumps({"shots": cell.shots})} if task.most_shots and cell.shots else {}),
        **({"chat_template": "false"} if has_no_template else {}),
    }


@functools.cache
def _mapping() -> Mapping[str, Any]:
    return read_yaml(paper_dir() / "mapping.yaml")
