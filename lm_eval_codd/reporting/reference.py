"""Own results as a reference: a YAML file with every item's outcome, what was run, and on what.

`items` holds the documents once for all runs over the same ones; `outcomes` has a character for each of them, 1 where
the answer was right.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from lm_eval_codd.reporting.cells import BASE, CellKey, key_of, system_of
from lm_eval_codd.reporting.protocol import short_name
from lm_eval_codd.reporting.run import Run
from lm_eval_codd.reporting.samples import Key, Outcomes, read_outcomes
from lm_eval_codd.runs.yaml_file import read_yaml
from lm_eval_codd.settings import CIRCUIT_SETTINGS, FAMILIES, DecodingConfig, steps_follow_confidence
from lm_eval_codd.terminal.clean_text import one_line, shortened

__all__ = [
    "FORMAT",
    "Reference",
    "identity_of",
    "is_reference",
    "read_references",
    "surroundings_of",
    "write_references",
]

FORMAT: Final = "lm_eval_codd results 1"
# Digits of a document's and a prompt's hash: together with its number enough to notice another one.
_DIGITS: Final = 8
_MOST_DOCUMENTS: Final = 10**7


@dataclass(frozen=True, kw_only=True)
class Reference:
    """An own result.

    Attributes:
        name: the run's, and the task where the run has several.
        identity: what a run must have to be compared with it.
        surroundings: what may differ and is told: hardware, versions, contents of checkpoint and circuit.
        outcomes: score of every document; hashes have eight digits.
    """

    name: str
    key: CellKey
    metric: str
    identity: Mapping[str, Any]
    surroundings: Mapping[str, Any]
    outcomes: Outcomes


def identity_of(run: Run) -> dict[str, Any]:
    """Everything that was asked of a run, except for which documents: a `--limit` compares with the whole."""
    identity = {
        "task": run.task,
        "family": run.family,
        "checkpoint": short_name(run.checkpoint),
        "peft": None if run.peft is None else short_name(run.peft),
        "circuit": None if run.circuit is None else short_name(run.circuit),
        "dtype": run.dtype,
        "max_length": run.max_length,
        "num_fewshot": run.num_fewshot,
        "settings": _given(run),
        # Left out where there are none, as in references from before there were any.
        **({"task_arguments": dict(run.task_arguments)} if run.task_arguments else {}),
        **({"model_arguments": dict(run.model_arguments)} if run.model_arguments else {}),
    }
    return _clean(identity)


def _given(run: Run) -> dict[str, Any]:
    """The settings that are not the family's defaults, so that a setting added later changes no reference."""
    if not run.settings:
        return {}
    defaults = _defaults_of(run.family)
    skipped = ["tokens_per_step", *(CIRCUIT_SETTINGS if system_of(run) == BASE else ())]
    always = ["alg", "num_steps"]
    if steps_follow_confidence(run.settings):
        skipped.append(always.pop())
    return {n: v for n, v in run.settings.items() if n in always or (n not in skipped and v != defaults.get(n))}


def _defaults_of(family: str | None) -> dict[str, Any]:
    """A family's published defaults by name; the general ones for a family that this version does not know."""
    return asdict(DecodingConfig.for_family(family) if family in FAMILIES else DecodingConfig())


def surroundings_of(run: Run) -> dict[str, Any]:
    """What a run was made with."""
    surroundings = {
        "hardware": run.hardware,
        "versions": dict(sorted(run.versions.items())),
        "checkpoint_identity": run.checkpoint_identity,
        "circuit_identity": run.circuit_identity,
        "chat_template_sha": run.chat_template_sha,
        "batch_size": run.batch_size,
        "nfe": run.nfe,
        "circuit_calls": run.circuit_calls,
        "answer_tokens": run.answer_tokens,
    }
    return _clean(surroundings)


def _clean(values: Mapping[str, Any]) -> dict[str, Any]:
    """With the text in it as YAML gives it back."""
    return {
        name: one_line(value) if isinstance(value, str) else _clean(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
    }


def short_key(key: Key) -> Key:
    """An item's key as a reference keeps it."""
    return Key(key.doc_id, key.doc_hash[:_DIGITS], key.prompt_hash[:_DIGITS])


def is_reference(data: Mapping[str, Any]) -> bool:
    """Whether a YAML file holds own results."""
    return str(data.get("format", "")).startswith(FORMAT.rpartition(" ")[0])


def write_references(path: Path, runs: Iterable[Run]) -> int:
    """Write the file, in one step, and return how many runs are in it.

    Raises:
        ValueError: a run has no samples, or scores other than 0 and 1.
    """
    items: dict[str, dict[str, Any]] = {}
    cells = []
    for run in runs:
        outcomes = read_outcomes(run)
        if not set(outcomes.values()) <= {0.0, 1.0}:
            raise ValueError(f"{run.name}: the scores of its items are not 0 or 1; it cannot be a reference")
        keys = sorted(outcomes)
        name, description = _describe_items(run, keys)
        items[name] = description
        cells.append(
            {
                "run": one_line(run.name),
                **identity_of(run),
                "metric": run.metric,
                "surroundings": surroundings_of(run),
                "correct": run.correct,
                "n": run.n,
                "items": name,
                "outcomes": "".join(str(int(outcomes[key])) for key in keys),
            }
        )
    text = yaml.safe_dump(
        {"format": FORMAT, "cells": cells, "items": items}, sort_keys=False, allow_unicode=True, width=120
    )
    _write_in_one_step(path, text)
    return len(cells)


def read_references(path: Path, data: Mapping[str, Any] | None = None) -> list[Reference]:
    """The references of a file, whose content may be given when it was read before.

    Raises:
        ValueError: the file was made by another version of this format, or is damaged.
    """
    data = read_yaml(path) if data is None else data
    if data.get("format") != FORMAT:
        written = shortened(data.get("format"))
        raise ValueError(f"`{path}` has the format {written}, not {FORMAT!r}; make it again with --update")
    try:
        keys = {name: _read_items(items) for name, items in (data.get("items") or {}).items()}
        cells = data["cells"] or ()
        num_tasks = Counter(cell["run"] for cell in cells)
        return [_reference(cell, keys[cell["items"]], is_only=num_tasks[cell["run"]] == 1) for cell in cells]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"`{path}` is damaged ({shortened(error, 200)}); make it again with --update") from None


def _reference(cell: Mapping[str, Any], keys: Sequence[Key], *, is_only: bool) -> Reference:
    outcomes = re.sub(r"\s", "", cell["outcomes"])
    names = ("task", "family", "checkpoint", "peft", "circuit", "dtype", "max_length", "num_fewshot", "settings")
    identity = {
        name: cell[name] for name in (*names, "task_arguments", "model_arguments") if name in names or name in cell
    }
    surroundings = cell["surroundings"]
    run = Run(
        name=cell["run"],
        task=cell["task"],
        settings={**_defaults_of(cell["family"]), **cell["settings"]},
        circuit=cell["circuit"],
        circuit_identity=surroundings["circuit_identity"],
    )
    return Reference(
        name=cell["run"] if is_only else f"{cell['run']}: {cell['task']}",
        key=key_of(run),
        metric=cell["metric"],
        identity=identity,
        surroundings=surroundings,
        outcomes={key: float(digit) for key, digit in zip(keys, outcomes, strict=True)},
    )


def _describe_items(run: Run, keys: Sequence[Key]) -> tuple[str, dict[str, Any]]:
    """A name for this set of items, equal for equal sets, and its content."""
    description = {
        "doc_ids": _as_ranges([key.doc_id for key in keys]),
        "doc_hashes": " ".join(key.doc_hash[:_DIGITS] for key in keys),
        "prompt_hashes": " ".join(key.prompt_hash[:_DIGITS] for key in keys),
    }
    digest = hashlib.sha256("\n".join(description.values()).encode()).hexdigest()[:_DIGITS]
    return f"{run.task}-{len(keys)}-{digest}", description


def _read_items(items: Mapping[str, str]) -> list[Key]:
    columns = _from_ranges(items["doc_ids"]), items["doc_hashes"].split(), items["prompt_hashes"].split()
    return [Key(*fields) for fields in zip(*columns, strict=True)]


def _as_ranges(numbers: Sequence[int]) -> str:
    """`0-299` or `0-4,7`, of ascending numbers."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def _from_ranges(text: str) -> list[int]:
    numbers: list[int] = []
    for part in str(text).split(","):
        first, _, last = part.partition("-")
        found = range(int(first), int(last or first) + 1)
        if len(found) > _MOST_DOCUMENTS:
            raise ValueError(f"{len(found)} documents")
        numbers += found
    return numbers


def _write_in_one_step(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
