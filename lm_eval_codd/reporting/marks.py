"""What a reader must know beside a run's score: what it has other than most of its table, and what it warns of."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lm_eval_codd.reporting.run import Run

__all__ = ["marks_of"]

# What changes answers enough to be told when a table's runs do not agree on it.
_VERSIONS: Final = ("lm_eval_codd", "lm_eval", "torch", "transformers")


def marks_of(runs: Sequence[Run]) -> dict[int, list[str]]:
    """What each run has other than most of its table, and what its own result warns of; by id of the run."""
    marks: dict[int, list[str]] = defaultdict(list)
    compared: list[tuple[str, Callable[[Run], object], Callable[[Run], object]]] = [
        *((f"{name}", lambda run, n=name: run.versions.get(n), lambda run: None) for name in _VERSIONS),
        ("metric", lambda run: run.metric, lambda run: run.benchmark),
        ("chat template", lambda run: _digits(run.chat_template_sha), lambda run: None),
        ("checkpoint content", lambda run: _digits(run.checkpoint_identity), lambda run: None),
        ("system prompt", lambda run: run.system_prompt, lambda run: run.benchmark),
        ("documents", lambda run: run.n, lambda run: run.benchmark),
        ("circuit content", lambda run: _digits(run.circuit_identity), lambda run: (run.circuit, run.benchmark)),
    ]
    for what, value, among in compared:
        for members in _split(runs, among).values():
            usual, _ = Counter(value(run) for run in members).most_common(1)[0]
            for run in members:
                if value(run) != usual:
                    marks[id(run)].append(f"other {what}: {value(run)} (most here: {usual})")
    for run in runs:
        if run.is_partial and run.limit is None:
            marks[id(run)].append(f"partial: {run.n} of {run.total} documents")
        if run.has_other_rows:
            marks[id(run)].append("not the benchmark's published rows")
        marks[id(run)] += [f"this project's extension, without a reference: {what}" for what in run.extensions]
        marks[id(run)] += run.warnings
    return marks


def _split(runs: Iterable[Run], among: Callable[[Run], object]) -> dict[object, list[Run]]:
    parts: dict[object, list[Run]] = defaultdict(list)
    for run in runs:
        parts[among(run)].append(run)
    return parts


def _digits(identity: str | None) -> str | None:
    return None if identity is None else identity[:24]
