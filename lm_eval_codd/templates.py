"""Named prompt templates of this package's tasks: the paper's, lm-eval's own, and neutral variants of it.

How methods rank may depend on how a question is put, so a claim should hold under more than one template. A task's
templates stand beside it (`tasks/NAME/templates.yaml`): a name, what is different, and the parts of the task's file
that it replaces. `paper` is the task's file as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.catalogue import TASK_PREFIX, short_name
from lm_eval_codd.registration import tasks_dir

__all__ = ["PAPER", "TEMPLATE", "changes_of", "check_template", "templates_of"]

# The default, and the argument of a task (`--metadata template=NAME`).
PAPER: Final = "paper"
TEMPLATE: Final = "template"
_FILE: Final = "templates.yaml"
_WHAT: Final = "what"
# What a template may replace: how a question is put, and never how an answer is read.
_PARTS: Final = frozenset({"description", "doc_to_text", "gen_prefix"})


def templates_of(task: str) -> Mapping[str, str]:
    """Names of a task's templates, by lm-eval's name of it, with what each asks otherwise; empty where it has none."""
    found = _read(task)
    return {PAPER: "the task as it is", **{name: str(parts[_WHAT]) for name, parts in found.items()}} if found else {}


def changes_of(task: str, name: str) -> dict[str, Any]:
    """The parts of a task's file that a template replaces.

    Raises:
        ValueError: the task has no such template; the message names those it has.
    """
    check_template(task, name, f"`--metadata {TEMPLATE}={name}`")
    return {} if name == PAPER else {part: text for part, text in _read(task)[name].items() if part != _WHAT}


def check_template(task: str, name: str, given: str) -> None:
    """Raise `ValueError`, one line that begins with what was `given`, where a task has no such template."""
    known = templates_of(task)
    if name == PAPER or name in known:
        return
    if not known:
        raise ValueError(f"{given}: {task} has no templates beside `{PAPER}`; leave it out, or use a task that has")
    raise ValueError(f"{given}: {task} has no such template; use one of {', '.join(known)}")


@functools.cache
def _read(task: str) -> Mapping[str, Mapping[str, Any]]:
    is_own = task.startswith(TASK_PREFIX) or short_name(task) is not None
    path = _folder(task.removeprefix(TASK_PREFIX)) / _FILE
    if not (is_own and path.is_file()):
        return {}
    import yaml

    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, parts in found.items():
        if unknown := set(parts) - _PARTS - {_WHAT}:
            raise ValueError(f"{path}: `{name}` replaces {', '.join(sorted(unknown))}; it may replace {sorted(_PARTS)}")
    return found


def _folder(name: str) -> Path:
    """The folder of a task: of its own name, else of the family of tasks that its name begins with."""
    while not (folder := tasks_dir() / name).is_dir() and "_" in name:
        name = name.rpartition("_")[0]
    return folder
