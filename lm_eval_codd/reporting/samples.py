"""A run's answers, document by document, from lm-eval's samples file."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from lm_eval_codd.reporting.run import Run
    from lm_eval_codd.reporting.runs import Folder

__all__ = [
    "Item",
    "Key",
    "Outcomes",
    "count_unreadable",
    "different_items",
    "grading_of",
    "read_items",
    "read_outcomes",
    "read_sizes",
    "unreadable_marks",
    "without_contradicted",
]

# lm-eval writes the long texts first and these last. A quote inside of a JSON string is escaped, so these bytes can
# only be the start of a key, and the last of them is the line's own.
_TAIL: Final = b', "filter": "'
_HASH_DIGITS: Final = 16
# Of a mean, in whichever order its terms were added.
_ROUNDING: Final = 1e-6
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
    return _read(run.samples, run.metric, run.invalid).outcomes


def read_sizes(run: Run) -> Mapping[Key, int]:
    """Bytes of every document's line in the samples file. Raises `ValueError` as `read_outcomes`."""
    read_outcomes(run)
    assert run.samples is not None and run.metric is not None
    return _read(run.samples, run.metric, run.invalid).sizes


def count_unreadable(run: Run) -> int | None:
    """Answers that the metric's filter could not read: of the result, else of the samples; None where unknown."""
    if run.unreadable is not None or run.invalid is None or run.samples is None or run.metric is None:
        return run.unreadable
    try:
        return _read(run.samples, run.metric, run.invalid).num_unreadable
    except ValueError:
        return None


def unreadable_marks(run: Run) -> list[str]:
    """What to say of it beside a score; nothing where every answer could be read, or it is unknown."""
    count = count_unreadable(run)
    return [f"{count} of {run.n} answers could not be read"] if count else []


def grading_of(runs: Iterable[Run]) -> list[str]:
    """A line a benchmark: its metric and filter, and how many answers the filter could not read."""
    found: dict[tuple[str, str | None], list[Run]] = {}
    for run in runs:
        found.setdefault((run.benchmark, run.metric), []).append(run)
    lines = []
    for (benchmark, metric), members in sorted(found.items()):
        counts = [(count, run.n or 0) for run in members if (count := count_unreadable(run)) is not None]
        unreadable, answers = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
        known = [f"{unreadable} of {answers} answers unreadable"] if counts else []
        unknown = len(members) - len(counts)
        rest = [f"unreadable answers of {unknown} {'run' if unknown == 1 else 'runs'} unknown"] if unknown else []
        lines.append("; ".join([f"{benchmark}: {metric}", *known, *rest]))
    return lines


def without_contradicted(folder: Folder) -> Folder:
    """The folder without the runs whose samples say something else than their result; these are problems."""
    checked = [(run, _contradiction(run)) for run in folder.runs]
    reasons = [reason for _, reason in checked if reason is not None]
    kept = tuple(run for run, reason in checked if reason is None)
    return replace(folder, runs=kept, problems=(*folder.problems, *reasons))


def _contradiction(run: Run) -> str | None:
    """How a run's samples contradict its result; None where they do not, or cannot be read."""
    if run.samples is None or run.value is None:
        return None
    try:
        read = _read(run.samples, run.metric, run.invalid)
    except ValueError:
        return None
    if run.n is not None and read.num_lines != run.n:
        return f"{run.name}: its result is of {run.n} documents, {run.samples} has {read.num_lines}"
    mean = sum(read.outcomes.values()) / max(1, len(read.outcomes))
    if run.is_mean and abs(mean - run.value) > _ROUNDING:
        return f"{run.name}: {run.metric} is {run.value:.6g} in its result, {mean:.6g} over {run.samples}"
    return None


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


@dataclass(frozen=True)
class _Read:
    """What a samples file says under one metric; `num_unreadable`: answers that the filter marked as invalid."""

    outcomes: Outcomes
    sizes: Mapping[Key, int]
    num_lines: int
    num_unreadable: int


@lru_cache(maxsize=1024)
def _read(path: Path, metric: str, invalid: str | None) -> _Read:
    name, _, wanted = metric.partition(",")
    outcomes: dict[Key, float] = {}
    sizes: dict[Key, int] = {}
    num_lines = num_unreadable = 0
    mark = b'"filtered_resps": ' + json.dumps([invalid], ensure_ascii=False).encode()
    for line, fields in _lines(path, wanted):
        score = fields.get(name)
        if not isinstance(score, bool | int | float) or not math.isfinite(score):
            raise ValueError(f"{path} has no `{name}` for document {fields['doc_id']}")
        key = _key(fields)
        outcomes[key], sizes[key] = float(score), len(line)
        num_lines += 1
        if "filtered_resps" in fields:
            num_unreadable += fields["filtered_resps"] == [invalid]
        else:
            num_unreadable += line.endswith(mark, 0, line.rfind(_TAIL))
    return _Read(outcomes, sizes, num_lines, num_unreadable)


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
    first: object = next(iter(arguments.values()), None) if isinstance(arguments, Mapping) else {}
    return str(first.get("arg_0", "")) if isinstance(first, Mapping) else ""


def _text(responses: object) -> str:
    """The first of lm-eval's nested lists of responses."""
    while isinstance(responses, list) and responses:
        responses = responses[0]
    return responses if isinstance(responses, str) else json.dumps(responses, ensure_ascii=False)
