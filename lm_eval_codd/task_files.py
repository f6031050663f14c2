"""What lm-eval's task files say, read as text: which tasks there are, and how one of them asks its model.

lm-eval's own index parses 14,000 files, which takes longer than a short run. Names are found by a regular expression
over the files, in a fraction of a second, and only a task that is asked for is parsed.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.registration import tasks_dir

_LIKELIHOODS: Final = frozenset({"multiple_choice", "loglikelihood", "loglikelihood_rolling"})
_SKIPPED: Final = ("__pycache__", ".ipynb_checkpoints")
# A key at the left edge with its value, or with the list below it.
_NAMES: Final = re.compile(
    rb"""^["']?(task|group|tag)["']?[ \t]*:[ \t]*([^\r\n]*)((?:\r?\n[ \t]*-[ \t][^\r\n]*)*)""", re.MULTILINE
)
_WILD: Final = re.compile(r"[*?\[]")
_DEEPEST: Final = 20
_DEEPEST_FILE: Final = 100


def stock_tasks_dir() -> Path | None:
    """The folder of lm-eval's own tasks, found without importing it; None where it is not installed."""
    spec = find_spec("lm_eval")
    places = [Path(place) / "tasks" for place in spec.submodule_search_locations or ()] if spec else []
    return next((place for place in places if place.is_dir()), None)


class TaskFiles:
    """The task files below some folders; a name in a later folder takes the place of one in an earlier.

    Attributes:
        names: every name that can be asked for, a task, a group or a tag, with its file; None for a tag.
    """

    def __init__(self, *folders: Path) -> None:
        self.names: dict[str, Path | None] = {}
        self._tagged: dict[str, list[str]] = {}
        for folder in folders:
            names, tagged = _read_names(folder)
            self.names |= names
            self._tagged |= tagged

    def has(self, name: str) -> bool:
        """Whether there is such a task, group or tag, a pattern that fits one, or such a file."""
        if name.endswith(".yaml"):
            return Path(name).is_file()
        if _WILD.search(name):
            from fnmatch import fnmatchcase

            return any(fnmatchcase(known, name) for known in self.names)
        return name in self.names

    def configs(self, name: str, depth: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and content of a task, or of each task of a group or a tag, as far as files tell."""
        path = self.names.get(name)
        config = {} if path is None else read_task_file(path)
        if path is not None and "group" not in config:
            yield name, config
            return
        members = self._tagged.get(name, []) if path is None else config.get("task") or []
        for member in _names_in(members):
            if member != name and depth < _DEEPEST:
                yield from self.configs(member, depth + 1)


def _names_in(members: object, depth: int = 0) -> Iterator[str]:
    """Names of a group's members, those of groups that are written out inside of it too."""
    for member in members if isinstance(members, list) else [members]:
        if isinstance(member, str):
            yield member
        elif isinstance(member, dict) and depth < _DEEPEST:
            yield from _names_in(member.get("task"), depth + 1)


@functools.cache
def task_files(include_path: str | None = None) -> TaskFiles:
    """lm-eval's own task files, this package's, and those of a user's folder; none without lm-eval."""
    stock = stock_tasks_dir()
    folders = (stock, stock and tasks_dir(), None if include_path is None else Path(include_path))
    return TaskFiles(*(folder for folder in folders if folder is not None))


def likelihoods_asked(task: str, include_path: str | None = None) -> frozenset[str]:
    """What a task, or the tasks of a group, ask for beside text, by lm-eval's words; empty for those of this package.

    `multiple_choice`, `loglikelihood` or `loglikelihood_rolling`; what a class asks for is not known.
    """
    return _output_types(task, include_path) & _LIKELIHOODS


def asks_for_no_text(task: str, include_path: str | None = None) -> bool:
    """Whether all that a task, or every task of a group, asks for is likelihoods; False of one that is not known."""
    output_types = _output_types(task, include_path)
    return bool(output_types) and output_types <= _LIKELIHOODS


@functools.cache
def _output_types(task: str, include_path: str | None) -> frozenset[str]:
    files = _files_of(task, include_path)
    configs = files.configs(task) if task in files.names else ()
    return frozenset(str(config.get("output_type")) for _, config in configs)


def _files_of(task: str, include_path: str | None) -> TaskFiles:
    """Files that say what a task is: those of the nearest folder that has it, and all of a group or a tag.

    Every run asks at its start, mostly for a task of this package, and lm-eval's own folder has 14,000 files.
    """
    near = (include_path, str(tasks_dir())) if stock_tasks_dir() else ()
    for folder in filter(None, near):
        files = _files_in(folder)
        path = files.names.get(task)
        if path is not None and "group" not in read_task_file(path):
            return files
        if task in files.names:
            break
    return task_files(include_path)


@functools.cache
def _files_in(folder: str) -> TaskFiles:
    return TaskFiles(Path(folder))


def read_task_file(path: Path, depth: int = 0) -> dict[str, Any]:
    """A task file with what it includes; names of functions stay text. Empty where it cannot be read."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the fast one if it is there
        """Plain data; `!function` and other tags of lm-eval's are text."""

    Loader.add_multi_constructor("!", lambda loader, suffix, node: _text_of(node.value))
    try:
        content = path.read_bytes()
        config = None if _is_too_deep(content, Loader) else yaml.load(content, Loader)
    except (OSError, yaml.YAMLError, RecursionError, ValueError, TypeError, AttributeError, KeyError):
        return {}
    if not isinstance(config, dict) or depth > _DEEPEST:
        return {}
    included = config.pop("include", None) or []
    merged: dict[str, Any] = {}
    for name in included if isinstance(included, list) else [included]:
        merged.update(read_task_file(path.parent / str(name), depth + 1))
    return {**merged, **config}


def _text_of(value: object) -> str:
    """A tagged word; nothing of a tagged list, which may be endless when it is written out."""
    return value if isinstance(value, str) else ""


def _is_too_deep(content: bytes, loader: type) -> bool:
    """Whether lists and mappings are nested so deeply that building them would end the process."""
    import yaml

    depth = 0
    for event in yaml.parse(content, loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST_FILE:
            return True
    return False


def _read_names(folder: Path) -> tuple[dict[str, Path | None], dict[str, list[str]]]:
    """Names with their files, and the tasks of each tag."""
    names: dict[str, Path | None] = {}
    tagged: dict[str, list[str]] = {}
    for path in _files(folder):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        found: dict[bytes, list[str]] = {b"task": [], b"group": [], b"tag": []}
        for key, value, below in _NAMES.findall(content):
            listed = [line.lstrip(b" \t\r\n-") for line in below.splitlines()] if key == b"tag" else []
            found[key] += [text for part in (value, *listed) for text in _texts(part)]
        # As lm-eval tells them apart: a class makes a task of it, whatever else is there.
        own = found[b"task"] if b"\nclass:" in content else found[b"group"] or found[b"task"]
        own = own if path.suffix == ".yaml" else []
        names.update(dict.fromkeys(own, path))
        for tag in found[b"tag"]:
            tagged.setdefault(tag, []).extend(own)
    return {**dict.fromkeys(tagged), **names}, tagged


def _files(folder: Path) -> Iterator[Path]:
    """Task files, and those without a suffix that they include."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        for name in sorted(files):
            if name.endswith(".yaml") or "." not in name:
                yield Path(place, name)


def _texts(value: bytes) -> list[str]:
    """The words of a YAML value: plain, quoted, or a list in brackets."""
    text = value.decode("utf-8", "replace").split(" #")[0].strip()
    parts = text.strip("[]").split(",") if text.startswith("[") else [text]
    return [word for part in parts if (word := part.strip().strip("\"'"))]
