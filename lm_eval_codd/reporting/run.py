"""A run as reports know it: what it was, what it scored and what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval_codd.catalogue import TASK_PREFIX
from lm_eval_codd.settings import approximations_of, extensions_of

if TYPE_CHECKING:
    from lm_eval_codd.reporting.values import Value

__all__ = ["Run"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run on one task, under one metric. Scores are shares (0 to 1).

    Attributes:
        name: of its folder.
        status: `finished`, `failed`, `interrupted`, `preempted` or `running`; only a finished run has a score.
        metric: as lm-eval spells it ("metric,filter"); None when the one that the task reports is not there.
        is_one_of_several: the task does not say which of its metrics is reported; each is a `Run`.
        is_mean: the score is the mean over the documents.
        repeats: answers to a document.
        unreadable: answers that the metric's filter could not read, where the result counts them.
        invalid: what the filter made of such an answer, where it is one that does so.
        n: documents that were answered; `total`: documents of the task.
        settings: the resolved `DecodingConfig` as a mapping; empty for models that are not of this package.
        checkpoint, peft, circuit: as given: hub id, path or `demo`.
        checkpoint_identity, circuit_identity: revision or content hash.
        limit: `--limit`, or the slice of documents, as text; None for the whole task.
        has_other_rows: the data was not the benchmark's published rows.
        system_prompt: lm-eval's system instruction and the task's own description.
        nfe, circuit_calls: of the backbone and the circuit a document, on average.
        answer_tokens: before the end of an answer, on average.
        seconds_per_sample: in the decoding loop, of one device.
        is_alone: whether its process had its device for itself meanwhile; None where that is not known.
        timed: answers that these times are of.
        seconds_stderr: its standard error; answers that were decoded together share their time and count as one.
        task_arguments: the task's own arguments that are not their default.
        model_arguments: a planner, another tokenizer, and how prompts are made, where they were given.
        seconds: wall time of the whole run.
        samples: the file with the answers; None when they were not logged.
        estimator: of its log-likelihoods, where the task asks for nothing else; `settings` are then the family's but
            for what they read.
        values: what it measured that is no share; such a run has no `metric` and no `value`.
        scores: every figure of the task, its standard errors too, as lm-eval spells them.
        has_turns: whether the examples of a prompt stood in turns of their own; said where they did not.
        published: the published cells (`SOURCE:CELL`) that the launcher was asked for, each with what was assumed.
    """

    name: str
    task: str
    status: str = "finished"
    metric: str | None = None
    value: float | None = None
    stderr: float | None = None
    is_one_of_several: bool = False
    is_mean: bool = True
    repeats: int = 1
    unreadable: int | None = None
    invalid: str | None = None
    n: int | None = None
    total: int | None = None
    family: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None
    peft: str | None = None
    circuit: str | None = None
    checkpoint_identity: str | None = None
    circuit_identity: str | None = None
    dtype: str | None = None
    max_length: int | None = None
    num_fewshot: int = 0
    limit: str | None = None
    batch_size: str | None = None
    has_other_rows: bool = False
    chat_template_sha: str | None = None
    system_prompt: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: str | None = None
    nfe: float | None = None
    circuit_calls: float | None = None
    answer_tokens: float | None = None
    seconds_per_sample: float | None = None
    is_alone: bool | None = None
    timed: int | None = None
    seconds_stderr: float | None = None
    seconds: float | None = None
    task_arguments: Mapping[str, Any] = field(default_factory=dict)
    model_arguments: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    date: float = 0.0
    samples: Path | None = None
    estimator: str | None = None
    values: tuple[Value, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    has_turns: bool = True
    published: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def benchmark(self) -> str:
        """The task without this package's prefix, `gsm8k` for `codd_gsm8k`; with the metric where it has several."""
        name = self.task.removeprefix(TASK_PREFIX)
        return f"{name} {self.metric}" if self.is_one_of_several else name

    @property
    def approximations(self) -> tuple[str, ...]:
        """What sets its answers apart from an exact decode's, as `cache=dual`."""
        return approximations_of(self.settings)

    @property
    def has_circuit(self) -> bool:
        """Whether a circuit coupled its predictions."""
        return self.circuit is not None or self.circuit_identity is not None

    @property
    def extensions(self) -> tuple[str, ...]:
        """What of it is this project's own and has no reference, as `circuit with decoder=p2`."""
        return extensions_of(self.settings, coupled=self.has_circuit)

    @property
    def is_partial(self) -> bool:
        """Whether the score is of a part of the task only."""
        return self.n is not None and self.total is not None and self.n < self.total

    @property
    def correct(self) -> int | None:
        """Right answers; None without a score, or when a document may score other than 0 or 1."""
        if self.value is None or not self.n or self.repeats > 1:
            return None
        count = round(self.value * self.n)
        return count if abs(self.value * self.n - count) < 1e-6 * self.n else None

    @property
    def tokens_per_evaluation(self) -> float | None:
        """Answer tokens for each network evaluation; None where either was not counted."""
        return self.answer_tokens / self.nfe if self.answer_tokens is not None and self.nfe else None

    @property
    def positions_per_evaluation(self) -> float | None:
        """The same of all positions of an answer, end tokens and what stands behind them too: its length, whole."""
        length = self.settings.get("gen_length")
        return length / self.nfe if length and self.nfe and self.answer_tokens is not None else None

    @property
    def tokens_per_second(self) -> float | None:
        """Answer tokens in a second of one device; None where either was not counted."""
        seconds = self.seconds_per_sample
        return self.answer_tokens / seconds if self.answer_tokens is not None and seconds else None

    @property
    def score_of_task(self) -> float:
        """`value`, of a run that has one. Raises `ValueError` for another."""
        if self.value is None:
            raise ValueError(f"{self.name} has no score")
        return self.value

    @property
    def counts(self) -> tuple[int, int]:
        """`correct` and `n`, of a run whose documents score 0 or 1. Raises `ValueError` for another."""
        if self.correct is None or self.n is None:
            raise ValueError(f"{self.name} has no number of right answers")
        return self.correct, self.n

    @property
    def binomial_stderr(self) -> float | None:
        """sqrt(p (1 - p) / n); lm-eval's own figure where a document may score other than 0 or 1."""
        if self.value is None or self.n is None or self.correct is None:
            return self.stderr
        return math.sqrt(self.value * (1 - self.value) / self.n)

    def score(self) -> str:
        """The score in words: `exact_match,flexible-extract 0.713 ± 0.012 (n=1319)`."""
        if self.values:
            return ", ".join(f"{one.name} {one}" for one in self.values)
        if self.value is None:
            return "no score"
        spread = "" if self.stderr is None else f" ± {self.stderr:.3f}"
        of = f" of {self.total}" if self.is_partial else ""
        rows = "; not the published rows" if self.has_other_rows else ""
        approximate = "; approximate" if self.approximations else ""
        extension = "; an extension" if self.extensions else ""
        unreadable = f"; {self.unreadable} unreadable" if self.unreadable else ""
        return f"{self.metric} {self.value:.3f}{spread} (n={self.n}{of}{unreadable}{rows}{approximate}{extension})"
