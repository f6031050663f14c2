"""Run folders as records: what a run was, what it scored and what it cost. Nothing is read that is not needed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from lm_eval_codd.catalogue import TASK_PREFIX
from lm_eval_codd.clean_text import shortened
from lm_eval_codd.grading import UNREADABLE
from lm_eval_codd.older_records import decodes_otherwise, filled_settings
from lm_eval_codd.reporting.metrics import invalid_mark, is_mean, number, shown_metrics, task_arguments
from lm_eval_codd.reporting.schema import OF_FILE, OF_RECORD, check_fields, check_settings, of_task
from lm_eval_codd.settings import FAMILIES, DecodingConfig, approximations_of

__all__ = ["Folder", "Run", "defaults_of", "read_folder", "read_runs"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run on one task, under one metric. Scores are shares (0 to 1).

    Attributes:
        name: of its folder.
        status: `finished`, `failed`, `interrupted` or `running`; only a finished run has a score.
        metric: as lm-eval spells it ("metric,filter"); None when the one that the task reports is not there.
        is_one_of_several: the task does not say which of its metrics is reported; each is a `Run`.
        is_mean: the score is the mean over the documents.
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
        seconds_stderr: its standard error; answers that were decoded together share their time and count as one.
        task_arguments: the task's own arguments that are not their default.
        seconds: wall time of the whole run.
        samples: the file with the answers; None when they were not logged.
    """

    name: str
    task: str
    status: str = "finished"
    metric: str | None = None
    value: float | None = None
    stderr: float | None = None
    is_one_of_several: bool = False
    is_mean: bool = True
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
    seconds_stderr: float | None = None
    seconds: float | None = None
    task_arguments: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    date: float = 0.0
    samples: Path | None = None

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
    def is_partial(self) -> bool:
        """Whether the score is of a part of the task only."""
        return self.n is not None and self.total is not None and self.n < self.total

    @property
    def correct(self) -> int | None:
        """Right answers; None without a score, or when a document may score other than 0 or 1."""
        if self.value is None or not self.n:
            return None
        count = round(self.value * self.n)
        return count if abs(self.value * self.n - count) < 1e-6 * self.n else None

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
        if self.value is None:
            return "no score"
        spread = "" if self.stderr is None else f" ± {self.stderr:.3f}"
        of = f" of {self.total}" if self.is_partial else ""
        rows = "; not the published rows" if self.has_other_rows else ""
        approximate = "; approximate" if self.approximations else ""
        unreadable = f"; {self.unreadable} unreadable" if self.unreadable else ""
        return f"{self.metric} {self.value:.3f}{spread} (n={self.n}{of}{unreadable}{rows}{approximate})"


@dataclass(frozen=True)
class Folder:
    """What a results folder holds: its runs, what is left out of them and why, and how many entries are no runs."""

    runs: tuple[Run, ...]
    problems: tuple[str, ...] = ()
    num_foreign: int = 0


def read_folder(folder: Path) -> Folder:
    """Every run below a results folder: of the launcher, or of lm-eval alone. The folder may also be a run's own.

    Raises:
        ValueError: there is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"`{folder}` is not a folder; give the one that runs were written to")
    runs: list[Run] = []
    problems: list[str] = []
    foreign = 0
    entries = [folder] if _is_run(folder) else sorted(e for e in folder.iterdir() if not e.name.startswith("."))
    for entry in entries:
        if not (entry.is_dir() and _is_run(entry)):
            foreign += 1
        elif (entry / "run.json").is_file():
            _collect(runs, problems, partial(read_runs, entry))
        else:
            _collect(runs, problems, partial(_read_harness_folder, entry, problems))
    return Folder(tuple(runs), tuple(problems), foreign)


def read_runs(folder: Path) -> list[Run]:
    """The run of a launcher's folder, for each of its task's metrics; empty when it holds no run.json.

    Raises:
        ValueError: one of its files is truncated, malformed or missing; the message names it.
    """
    path = folder / "run.json"
    if not path.is_file():
        return []
    record = _read_json(path)
    check_fields(record, OF_RECORD, where=str(path))
    check_settings(_mapping(record, "identity", "config"), where=str(path))
    status, task = record.get("status") or "", record.get("task") or ""
    if status != "finished":
        return [_unfinished(folder.name, status, record)]
    problems: list[str] = []
    runs = _read_results(folder / str(record.get("results")), folder.name, record, problems)
    if problems:
        raise ValueError(problems[0])
    return [run for run in runs if run.task == task] or [_unfinished(folder.name, status, record)]


def defaults_of(family: str | None) -> dict[str, Any]:
    """A family's published defaults by name; the general ones for a family that this version does not know."""
    return asdict(DecodingConfig.for_family(family) if family in FAMILIES else DecodingConfig())


def _is_run(folder: Path) -> bool:
    return (folder / "run.json").is_file() or any(folder.glob("results_*.json"))


def _collect(runs: list[Run], problems: list[str], read: Callable[[], list[Run]]) -> None:
    try:
        runs += read()
    except ValueError as error:
        problems.append(str(error))


def _read_harness_folder(folder: Path, problems: list[str]) -> list[Run]:
    """lm-eval writes runs with different settings side by side: of those that are alike, the latest counts."""
    latest: dict[str, Run] = {}
    for path in sorted(folder.glob("results_*.json")):
        read: list[Run] = []
        _collect(read, problems, partial(_read_results, path, folder.name, {}, problems))
        for run in read:
            what = (run.task, run.metric, run.family, run.settings, run.checkpoint, run.peft, run.circuit)
            how = (run.num_fewshot, run.limit, run.dtype, run.max_length, run.chat_template_sha, run.system_prompt)
            latest[repr((*what, *how, run.task_arguments))] = run
    return list(latest.values())


def _read_results(path: Path, name: str, record: Mapping[str, Any], problems: list[str]) -> list[Run]:
    """A run for each task and metric of a results file; one that is malformed is a problem, and leaves the others."""
    results = _read_json(path)
    check_fields(results, OF_FILE, where=str(path))
    tasks = [task for task in _mapping(results, "configs") if task in _mapping(results, "results")]
    runs: list[Run] = []
    for task in tasks:
        is_only = len(tasks) == 1
        metrics = shown_metrics(_mapping(results, "results", task), _mapping(results, "configs", task, "metadata"))
        for metric in metrics:
            read: list[Run] = []
            _collect(read, problems, partial(_checked_run, path, name, record, results, task, metric, is_only=is_only))
            runs += [replace(run, is_one_of_several=len(metrics) > 1) for run in read]
    return runs


def _checked_run(
    path: Path,
    name: str,
    record: Mapping[str, Any],
    results: Mapping[str, Any],
    task: str,
    metric: str | None,
    *,
    is_only: bool,
) -> list[Run]:
    """The one run of a task and metric; raises `ValueError`, one line with file and value, where it is malformed."""
    check_fields(results, of_task(task), where=str(path))
    run = _from_results(path, name, record, results, task, metric, is_only=is_only)
    if run.settings:
        check_settings(run.settings, where=str(path))
    for value, what in ((run.value, run.metric), (run.stderr, f"the standard error of {run.metric}")):
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{path}: `{task}`, {what} is {shortened(value)}, which is no share (0 to 1)")
    return [run]


def _from_results(
    path: Path,
    name: str,
    record: Mapping[str, Any],
    results: Mapping[str, Any],
    task: str,
    metric: str | None,
    *,
    is_only: bool,
) -> Run:
    config = _mapping(results, "config")
    task_config = _mapping(results, "configs", task)
    metadata = _mapping(task_config, "metadata")
    scores = _mapping(results, "results", task)
    documents = _mapping(results, "n-samples", task)
    of_metric, _, of_filter = (metric or "").partition(",")
    unreadable = number(scores.get(f"{UNREADABLE},{of_filter}"))
    requests = config.get("requests") or 0
    # Counts and times are of the whole file; only with one task are they that task's.
    seconds = config.get("decoding_seconds") if is_only and requests else None
    stamp = path.stem.removeprefix("results_")
    samples = path.with_name(f"samples_{task}_{stamp}.jsonl")
    prompts = (results.get("system_instruction"), task_config.get("description"))
    settings = {**_mapping(config, "settings"), **_mapping(config, "settings_of_tasks", task)}
    settings = filled_settings(settings) if settings else {}
    is_coupled = config.get("pc") is not None or config.get("circuit_identity") is not None
    older = decodes_otherwise(config, settings, coupled=is_coupled) if settings else ()
    return Run(
        name=name,
        task=task,
        metric=metric,
        value=None if metric is None else scores[metric],
        stderr=None if metric is None else number(scores.get(metric.replace(",", "_stderr,", 1))),
        is_mean=is_mean(task_config, of_metric),
        unreadable=None if unreadable is None else round(unreadable * (documents.get("effective") or 0)),
        invalid=invalid_mark(task_config, of_filter),
        n=documents.get("effective"),
        total=documents.get("original"),
        family=config.get("family"),
        settings=settings,
        checkpoint=config.get("pretrained") or results.get("model_name"),
        peft=config.get("peft"),
        circuit=config.get("pc"),
        checkpoint_identity=config.get("checkpoint_identity"),
        circuit_identity=config.get("circuit_identity"),
        dtype=None if config.get("model_dtype") is None else str(config["model_dtype"]).removeprefix("torch."),
        max_length=config.get("model_max_length"),
        num_fewshot=_mapping(results, "n-shot").get(task) or 0,
        limit=_limit(config, record),
        batch_size=str(config.get("batch_size")),
        has_other_rows=not _mapping(metadata, "data").get("is_published_set", True),
        chat_template_sha=results.get("chat_template_sha"),
        system_prompt="\n\n".join(text for text in prompts if text),
        versions=_versions(results, config, record),
        hardware=config.get("device_name"),
        nfe=config.get("mean_nfe", record.get("num_forward")) if is_only else None,
        circuit_calls=config.get("mean_circuit_calls") if is_only else None,
        answer_tokens=config.get("mean_answer_tokens") if is_only else None,
        seconds_per_sample=None if seconds is None else seconds * config.get("world_size", 1) / requests,
        seconds_stderr=None if seconds is None else _seconds_stderr(config, requests),
        seconds=record.get("seconds"),
        task_arguments=task_arguments(metadata),
        warnings=(*older, *(config.get("warnings") or ())),
        date=results.get("date") or 0.0,
        samples=samples if samples.is_file() else None,
    )


def _seconds_stderr(config: Mapping[str, Any], requests: int) -> float | None:
    """Of the mean time of an answer; None where the result says no deviation, or no number for its batch size."""
    deviation, batch_size = config.get("seconds_deviation"), str(config.get("batch_size"))
    if deviation is None or not batch_size.isdecimal() or batch_size == "0":
        return None
    return float(deviation * math.sqrt(min(int(batch_size), requests) / requests))


def _unfinished(name: str, status: str, record: Mapping[str, Any]) -> Run:
    """A run without a score: what its record says it is."""
    identity = _mapping(record, "identity")
    return Run(
        name=name,
        task=str(record.get("task", "")),
        status=status,
        family=identity.get("family"),
        settings=filled_settings(settings) if (settings := _mapping(identity, "config")) else {},
        checkpoint=identity.get("checkpoint"),
        peft=identity.get("peft"),
        circuit=identity.get("circuit"),
        seconds=record.get("seconds"),
    )


def _limit(config: Mapping[str, Any], record: Mapping[str, Any]) -> str | None:
    documents = _mapping(record, "identity").get("samples")
    if documents:
        return f"documents {documents[0]} to {documents[1] - 1}"
    limit = config.get("limit")
    return None if limit is None else f"limit {limit:g}"


def _versions(results: Mapping[str, Any], config: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, str]:
    known = {"lm_eval": results.get("lm_eval_version"), "transformers": results.get("transformers_version")}
    return {
        k: str(v) for k, v in {**_mapping(record, "versions"), **known, **_mapping(config, "versions")}.items() if v
    }


def _mapping(value: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The mapping at a path of keys; an empty one where there is none."""
    for key in path:
        value = value.get(key) or {}
        if not isinstance(value, Mapping):
            return {}
    return value


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is truncated or no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object")
    return value
