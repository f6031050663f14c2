"""Sweeps: lists of values, and the runs of their product."""

from __future__ import annotations

import dataclasses
import itertools
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.catalogue import members
from lm_eval_codd.names import READ_AS, ReadAs, unknown_name
from lm_eval_codd.runs.flags import convert
from lm_eval_codd.runs.run_flags import CIRCUIT_SETTINGS, KIND_OF_FLAG, NAMES_HERE, SETTINGS
from lm_eval_codd.settings import DECODERS, reads

Values = tuple[str, ...]

FIXED: Final = "fixed"

_OF_A_CIRCUIT: Final = ("pc_ckpt", *CIRCUIT_SETTINGS)
_SUFFIXES: Final = (".yaml", ".yml")


@dataclass(frozen=True)
class Sweep:
    """Flags of a run with lists of values.

    where: what messages call it.
    values: the values of each flag; None where they are left for the user to give.
    by_task: the same for single tasks, as (flag, task); takes the place of `values` there, so it does not multiply.
    said: of keys that other projects' names stand for, which.
    """

    where: str
    values: Mapping[str, Values | None]
    by_task: Mapping[tuple[str, str], Values | None]
    said: tuple[ReadAs, ...] = ()

    def points(self) -> Iterator[dict[str, str]]:
        """The flags of every run as text, tasks slowest. Runs that miss a value are left out.

        Over several decoders, each has the settings that it reads; then points may be equal.
        """
        for lists in self._lists():
            given = [values for values in lists.values() if values is not None]
            if len(given) == len(lists):
                for combination in itertools.product(*given):
                    point = dict(zip(lists, combination, strict=True))
                    yield _without_others(point, lists.get("decoder") or ())

    def missing(self) -> dict[str, int]:
        """Flags that the user has to give, and how many runs are left out without each."""
        counts: dict[str, int] = {}
        for lists in self._lists():
            for name in (name for name, values in lists.items() if values is None):
                (task,) = lists["task"] or ("",)
                key = f"{name}@{task}" if (name, task) in self.by_task else name
                counts[key] = counts.get(key, 0) + math.prod(len(values) for values in lists.values() if values)
        return counts

    def updated(self, changes: Sweep) -> Sweep:
        """With the values of `changes` in place of its own; those of a circuit only where this sweep has one."""
        has_circuit = any(name == "pc_ckpt" for name in (*self.values, *(name for name, _ in self.by_task)))
        tasks = self.values["task"] or ()

        def fits(name: str) -> bool:
            return has_circuit or name not in _OF_A_CIRCUIT

        values = {name: new for name, new in changes.values.items() if fits(name)}
        by_task = {key: new for key, new in changes.by_task.items() if fits(key[0]) and key[1] in tasks}
        # A value for all tasks is also one for those that had their own.
        kept = {key: old for key, old in self.by_task.items() if key[0] not in values}
        said = (*self.said, *changes.said)
        return dataclasses.replace(self, values={**self.values, **values}, by_task={**kept, **by_task}, said=said)

    def _lists(self) -> Iterator[dict[str, Values | None]]:
        for task in self.values["task"] or ():
            own = {name: values for (name, of), values in self.by_task.items() if of == task}
            yield {"task": (task,), **{name: values for name, values in self.values.items() if name != "task"}, **own}


def _without_others(point: dict[str, str], decoders: Sequence[str]) -> dict[str, str]:
    """A point without what its decoder does not read and another one of the sweep does."""
    if len(decoders) < 2 or not DECODERS.keys() >= set(decoders):
        return point
    own = point["decoder"]
    return {
        name: value
        for name, value in point.items()
        if name not in SETTINGS or reads(own, name) or not any(reads(other, name) for other in decoders)
    }


def typed(point: Mapping[str, str]) -> dict[str, Any]:
    """A point as `runs.make_run` takes it; raises `ValueError` for a value that is not of its flag's kind."""
    return {name: convert(name, text, KIND_OF_FLAG[name]) for name, text in point.items()}


def parse_sweep(text: str) -> Sweep:
    """A sweep from `key=value,value key@task=value ...`.

    Raises:
        ValueError: one line for an unknown key (with the nearest), an empty list, or a key that is given twice.
    """
    where = f"`--sweep '{text}'`"
    return _checked(_build(where, _split(where, text)))


def parse_changes(text: str) -> Sweep:
    """What `--set` says, in the words of a sweep; raises `ValueError` like `parse_sweep`."""
    where = f"`--set '{text}'`"
    changes = _build(where, _split(where, text))
    if "task" in changes.values:
        raise ValueError(f"{where}: tasks belong to a sweep; leave `task` out, or write the sweep yourself")
    return changes


def is_file(text: str) -> bool:
    """Whether the value of `--sweep` names a file."""
    return text.endswith(_SUFFIXES) and ("=" not in text or Path(text).is_file())


def read_sweeps(path: Path, select: str = FIXED) -> list[Sweep]:
    """The sweeps of a YAML file: one mapping of keys to values or lists, or a list of such mappings.

    A value of null is left for `--set`. A mapping inside of a sweep is a variant: its keys take the place of the
    sweep's own when `select` is its name.

    Raises:
        ValueError: one line with the file, for what `parse_sweep` refuses and for a file that is no sweep.
    """
    content = _load(path)
    entries = content if isinstance(content, list) else [content]
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path} is not a sweep; it must hold keys with lists of values, or a list of such sweeps")
    sweeps = []
    found = select == FIXED
    for number, entry in enumerate(entries, start=1):
        where = f"{path}, sweep {number}" if len(entries) > 1 else str(path)
        variants = {key: value for key, value in entry.items() if isinstance(value, dict)}
        sweep = _checked(_build(where, [(str(key), value) for key, value in entry.items() if key not in variants]))
        for name, variant in variants.items():
            changes = _build(f"{where}, {name}", [(str(key), value) for key, value in variant.items()])
            if name == select:
                found = True
                sweep = sweep.updated(changes)
        sweeps.append(sweep)
    if not found:
        raise ValueError(f"`--select {select}`: {path} has no such variant; leave --select out, or use {FIXED}")
    return sweeps


def _split(where: str, text: str) -> list[tuple[str, list[str]]]:
    try:
        tokens = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{where}: {str(error).lower()}: a quote or a backslash is left open") from None
    pairs = []
    for token in tokens:
        key, equals, value = token.partition("=")
        if not equals:
            raise ValueError(f"{where}: `{token}` is not key=value; values are separated by commas, without spaces")
        pairs.append((key, value.split(",") if value else []))
    return pairs


def _build(where: str, pairs: Sequence[tuple[str, object]]) -> Sweep:
    values: dict[str, Values | None] = {}
    by_task: dict[tuple[str, str], Values | None] = {}
    said: list[ReadAs] = []
    for written, value in pairs:
        name, at, task = written.partition("@")
        name = name.removeprefix("--").replace("-", "_")
        elsewhere = READ_AS.get(name) if name not in KIND_OF_FLAG else None
        own = name if elsewhere is None else elsewhere.here
        name = own if own in KIND_OF_FLAG else NAMES_HERE.get(own, name)
        if name not in KIND_OF_FLAG:
            raise ValueError(f"{where}: {unknown_name(name, KIND_OF_FLAG, kind='key')}")
        if at and (not task or name == "task"):
            raise ValueError(f"{where}: `{written}` is not a key; `key@task` gives a flag its values for one task")
        if (name, task) in by_task if at else name in values:
            raise ValueError(f"{where}: `{written}` is given twice; put all of its values into one list")
        texts = _texts(where, written, value)
        if elsewhere is not None:
            texts = texts and tuple(str(elsewhere.read(text)) for text in texts)
            said.append(ReadAs(f"`{written}` ({elsewhere.projects}) is read as `{name}`", name))
        if at:
            by_task[name, task] = texts
        else:
            values[name] = texts
    if tasks := values.get("task"):
        values["task"] = tuple(task for listed in tasks for task in members(listed))
    return Sweep(where, values, by_task, tuple(said))


def _texts(where: str, key: str, value: object) -> Values | None:
    if value is None:
        return None
    listed = value if isinstance(value, list) else [value]
    texts = tuple(str(item).strip() if isinstance(item, str | int | float) else "" for item in listed)
    if not texts:
        raise ValueError(f"{where}: `{key}` has no values; give at least one, or leave it out")
    if not all(texts):
        raise ValueError(f"{where}: `{key}` has an empty or nested value; give plain values, separated by commas")
    return texts


def _checked(sweep: Sweep) -> Sweep:
    """The sweep, complete: it has a family, tasks, and a word on circuits where only some tasks have one."""
    for name in ("model_alias", "task"):
        if not sweep.values.get(name):
            raise ValueError(f"{sweep.where}: `{name}` is missing")
    for name, task in sweep.by_task:
        if task not in (swept := sweep.values["task"] or ()):
            tasks = ", ".join(swept)
            raise ValueError(f"{sweep.where}: `{name}@{task}` is for a task that is not swept; its tasks are {tasks}")
    if any(name == "pc_ckpt" for name, _ in sweep.by_task):
        return dataclasses.replace(sweep, values={"pc_ckpt": ("none",), **sweep.values})
    return sweep


def _load(path: Path) -> Any:
    import yaml

    from lm_eval_codd.runs.yaml_file import load_yaml

    class Loader(yaml.SafeLoader):
        """Plain data only, and no key twice: YAML itself would take the last one."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            nodes = [key for key, _ in node.value if not key.tag.endswith(":merge")]
            keys = [self.construct_object(key) for key in nodes]
            for index, key in enumerate(keys):
                if key in keys[:index]:
                    problem = f"`{key}` is given twice; put all of its values into one list"
                    raise yaml.constructor.ConstructorError(problem=problem, problem_mark=nodes[index].start_mark)
            return super().construct_mapping(node, deep)

    return load_yaml(path, Loader)
