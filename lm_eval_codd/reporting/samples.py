"""A run's answers, document by document, from lm-eval's samples file."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from lm_eval_codd.reporting.runs import Run

__all__ = ["Item", "Key", "Outcomes", "different_items", "read_items", "read_outcomes"]

# lm-eval writes the long texts first and these last. A quote inside of a JSON string is escaped, so these bytes can
# only be the start of a key, and the last of them is the line's own.
_TAIL: Final = b', "filter": "'
_HASH_DIGITS: Final = 16
_NEEDED: Final = frozenset({"filter", "doc_id", "doc_hash", "prompt_hash"})


class Key(NamedTuple):
    """What makes two documents of two runs the same item: place, content and rendered prompt."""

    doc_id: int
    doc_hash: str
    prompt_hash: str


Outcomes = Mapping[Key, float]


@dataclass(frozen=True)
class Item:
    """A document as a person reads it. `answer` is the text that was scored, `extracted` what the filter made of it."""

    key: Key
    prompt: str
    target: str
    answer: str
    extracted: str
    score: float


def read_outcomes(run: Run) -> Outcomes:
    """The headline's score of every document, without reading the texts.

    Raises:
        ValueError: the run has no samples or no score, or a line is not what lm-eval writes; the message says which.
    """
    if run.samples is None:
        raise ValueError(f"{run.name} has no samples file; run lm-eval with --log_samples")
    if run.metric is None:
        raise ValueError(f"{run.name} has no score")
    return _outcomes(run.samples, run.metric)


def read_items(run: Run, keys: Collection[Key] | None = None) -> Iterator[Item]:
    """The documents with their texts, in the file's order; only those of `keys` where given."""
    if run.samples is None or run.metric is None:
        return
    metric, _, wanted = run.metric.partition(",")
    for line, fields in _lines(run.samples, wanted):
        key = _key(fields)
        if keys is None or key in keys:
            sample = json.loads(line)
            yield Item(
                key=key,
                prompt=_prompt(sample),
                target=str(sample.get("target", "")),
                answer=_text(sample.get("resps")),
                extracted=_text(sample.get("filtered_resps")),
                score=float(fields[metric]),
            )


def different_items(a: Outcomes, b: Outcomes) -> str | None:
    """Why two runs cannot be compared item by item; None when they can, on the documents that both have."""
    prompts = {(key.doc_id, key.doc_hash): key.prompt_hash for key in a}
    shared = [key for key in b if (key.doc_id, key.doc_hash) in prompts]
    if not shared:
        return "they share no document"
    if any(prompts[key.doc_id, key.doc_hash] != key.prompt_hash for key in shared):
        return "their prompts differ"
    return None


@lru_cache(maxsize=1024)
def _outcomes(path: Path, metric: str) -> Outcomes:
    name, _, wanted = metric.partition(",")
    outcomes = {}
    for _, fields in _lines(path, wanted):
        score = fields.get(name)
        if isinstance(score, bool | int | float) and math.isfinite(score):
            outcomes[_key(fields)] = float(score)
        else:
            raise ValueError(f"{path} has no `{name}` for document {fields['doc_id']}")
    return outcomes


def _lines(path: Path, wanted: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Each line of a filter, with the fields behind its texts and its `doc_id`."""
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                fields = _fields(line)
                if fields is None or not (fields.keys() >= _NEEDED and isinstance(fields["doc_id"], int)):
                    raise ValueError(f"{path}, line {number} is truncated or no sample of lm-eval")
                if fields["filter"] == wanted:
                    yield line, fields
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None


def _fields(line: bytes) -> dict[str, Any] | None:
    start, end = line.rfind(_TAIL), line.find(b",")
    try:
        if start > 0 and line.startswith(b'{"doc_id": '):
            return {"doc_id": int(line[len(b'{"doc_id": ') : end]), **json.loads(b"{" + line[start + 2 :])}
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _key(fields: Mapping[str, Any]) -> Key:
    doc_hash, prompt_hash = str(fields["doc_hash"]), str(fields["prompt_hash"])
    return Key(fields["doc_id"], doc_hash[:_HASH_DIGITS], prompt_hash[:_HASH_DIGITS])


def _prompt(sample: Mapping[str, Any]) -> str:
    arguments = sample.get("arguments")
    first = next(iter(arguments.values()), {}) if isinstance(arguments, Mapping) else {}
    return str(first.get("arg_0", "")) if isinstance(first, Mapping) else ""


def _text(responses: object) -> str:
    """The first of lm-eval's nested lists of responses."""
    while isinstance(responses, list) and responses:
        responses = responses[0]
    return responses if isinstance(responses, str) else json.dumps(responses, ensure_ascii=False)
