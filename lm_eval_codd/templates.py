"""Named prompt templates of this package's tasks: the paper's, lm-eval's own, and neutral variants of it.

How methods rank may depend on how a question is put, so a claim should hold under more than one template. A task's
templates stand beside it (`tasks/NAME/templates.yaml`): a name, what is different, and the parts of the task's file
that it replaces, each as a new text or as edits of the task's own (`OLD: NEW`). `like: NAME` takes over those of
another task; one whose name is there too takes its place. `paper` is the task's file as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.catalogue import PAPER_TASKS, TASK_PREFIX, TASKS, short_name, task_name
from lm_eval_codd.registration import tasks_dir

__all__ = ["PAPER", "TEMPLATE", "check_template", "templates_of", "under_template"]

# The default, and the argument of a task (`--metadata template=NAME`).
PAPER: Final = "paper"
TEMPLATE: Final = "template"
_FILE: Final = "templates.yaml"
_WHAT: Final = "what"
_LIKE: Final = "like"
_QUESTION: Final = "doc_to_text"
_EXAMPLES: Final = "fewshot_config"
# What a template may replace: how a question is put, and never how an answer is read.
_PARTS: Final = frozenset({"description", _QUESTION, "gen_prefix"})


def templates_of(task: str) -> Mapping[str, str]:
    """Names of a task's templates, by lm-eval's name of it, with what each asks otherwise; empty where it has none."""
    found = _read(task)
    return {PAPER: "the task as it is", **{name: str(parts[_WHAT]) for name, parts in found.items()}} if found else {}


def under_template(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A task's file as a template asks it: with other texts, and with its fixed examples asked in the same way.

    Args:
        config: of the task's file.
        name: of the template.

    Raises:
        ValueError: the task has no such template; the message names those it has.
    """
    task = str(config.get("task", ""))
    check_template(task, name, f"`--metadata {TEMPLATE}={name}`")
    changed = dict(config)
    if name == PAPER:
        return changed
    parts = {part: change for part, change in _read(task)[name].items() if part != _WHAT}
    for part, change in parts.items():
        changed[part] = _edited(str(config.get(part) or ""), change, f"{task}, template {name}: `{part}`")
    examples = config.get(_EXAMPLES) or {}
    if _QUESTION in parts and "samples" in examples:
        where, change = f"{task}, template {name}: an example", parts[_QUESTION]
        if isinstance(change, str):
            raise ValueError(f"{where} would be asked in the old way; say in {_FILE} what of the question changes")
        samples = [{**one, "question": _edited(one["question"], change, where)} for one in examples["samples"]]
        changed[_EXAMPLES] = {**examples, "samples": samples}
    return changed


def check_template(task: str, name: str, given: str) -> None:
    """Raise `ValueError`, one line that begins with what was `given`, where a task has no such template."""
    known = templates_of(task)
    if name == PAPER or name in known:
        return
    if not known:
        raise ValueError(f"{given}: {task} has no templates beside `{PAPER}`; leave it out, or use {_with_some(task)}")
    raise ValueError(f"{given}: {task} has no such template; use one of {', '.join(known)}")


def _with_some(task: str) -> str:
    """Tasks that have templates, of the same benchmark where one is; else the paper's."""
    own = short_name(task)
    having = [name for name in TASKS if templates_of(task_name(name))]
    same = [name for name in having if TASKS[name].stock == task or _benchmark(name) == _benchmark(own or task)]
    named = ", ".join(task_name(name) for name in same or PAPER_TASKS)
    return f"one of {named}" if same else f"one of {named} (tasks/README.md, Templates, names {len(having)})"


def _benchmark(name: str) -> str:
    return name.partition("_")[0]


def _edited(text: str, change: str | Mapping[str, str], where: str) -> str:
    """A new text, or the old one with edits, each of which has to find its place."""
    if isinstance(change, str):
        return change
    for old, new in change.items():
        if old not in text:
            raise ValueError(f"{where} has no {old!r} that {_FILE} could replace")
        text = text.replace(old, new)
    return text


@functools.cache
def _read(task: str) -> Mapping[str, Mapping[str, Any]]:
    """By name, what a template replaces."""
    if not (task.startswith(TASK_PREFIX) or short_name(task) is not None):
        return {}
    return _of_folder(_folder(task.removeprefix(TASK_PREFIX)))


def _of_folder(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    path = folder / _FILE
    if not path.is_file():
        return {}
    import yaml

    own = yaml.safe_load(path.read_text(encoding="utf-8"))
    sibling = own.pop(_LIKE, None)
    for name, parts in own.items():
        if unknown := set(parts) - _PARTS - {_WHAT}:
            raise ValueError(f"{path}: `{name}` replaces {', '.join(sorted(unknown))}; it may replace {sorted(_PARTS)}")
    return {**(_of_folder(folder.parent / sibling) if sibling else {}), **own}


def _folder(name: str) -> Path:
    """The folder of a task: of its own name, else of the family of tasks that its name begins with."""
    while not (folder := tasks_dir() / name).is_dir() and "_" in name:
        name = name.rpartition("_")[0]
    return folder
