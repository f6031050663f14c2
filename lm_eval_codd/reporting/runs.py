"""From run folders to `Run`s. Nothing is read that is not needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval_codd.reporting.metrics import shown_metrics
from lm_eval_codd.reporting.result import from_results, mapping_at, unfinished
from lm_eval_codd.reporting.schema import OF_FILE, OF_RECORD, check_fields, check_settings, of_task
from lm_eval_codd.reporting.values import is_value, values_of
from lm_eval_codd.terminal.clean_text import shortened

if TYPE_CHECKING:
    from lm_eval_codd.reporting.run import Run

__all__ = ["Folder", "read_folder", "read_runs"]


@dataclass(frozen=True)
class Folder:
    """What a results folder holds.

    Attributes:
        runs: those with shares as scores, or with none.
        problems: what is left out of them, and why.
        num_foreign: entries that are no runs.
        measured: what was measured that is no share (`Run.values`).
    """

    runs: tuple[Run, ...]
    problems: tuple[str, ...] = ()
    num_foreign: int = 0
    measured: tuple[Run, ...] = ()


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
    scored, measured = (tuple(run for run in runs if bool(run.values) is has) for has in (False, True))
    return Folder(scored, tuple(problems), foreign, measured)


def read_runs(folder: Path) -> list[Run]:
    """The run of a launcher's folder, for each of its task's metrics, or of a group's tasks; empty without a run.json.

    Raises:
        ValueError: one of its files is truncated, malformed or missing; the message names it.
    """
    path = folder / "run.json"
    if not path.is_file():
        return []
    record = _read_json(path)
    check_fields(record, OF_RECORD, where=str(path))
    check_settings(mapping_at(record, "identity", "config"), where=str(path))
    status, task = record.get("status") or "", record.get("task") or ""
    if status != "finished":
        return [unfinished(folder.name, status, record)]
    problems: list[str] = []
    runs = _read_results(folder / str(record.get("results")), folder.name, record, problems)
    if problems:
        raise ValueError(problems[0])
    # The results of a group are those of its tasks.
    return [run for run in runs if run.task == task] or runs or [unfinished(folder.name, status, record)]


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
            latest[repr((*what, *how, run.task_arguments, run.model_arguments))] = run
    return list(latest.values())


def _read_results(path: Path, name: str, record: Mapping[str, Any], problems: list[str]) -> list[Run]:
    """A run for each task and metric of a results file; one that is malformed is a problem, and leaves the others."""
    results = _read_json(path)
    check_fields(results, OF_FILE, where=str(path))
    tasks = [task for task in mapping_at(results, "configs") if task in mapping_at(results, "results")]
    runs: list[Run] = []
    for task in tasks:
        is_only = len(tasks) == 1
        metrics = shown_metrics(mapping_at(results, "results", task), mapping_at(results, "configs", task, "metadata"))
        read_one = partial(_checked_run, path, name, record, results, task, is_only=is_only)
        for metric in (metric for metric in metrics if not is_value(metric)):
            read: list[Run] = []
            _collect(read, problems, partial(read_one, metric=metric))
            runs += [replace(run, is_one_of_several=len(metrics) > 1) for run in read]
        if any(map(is_value, metrics)):
            _collect(runs, problems, partial(_with_values, read_one, path, results, task, metrics))
    return runs


def _with_values(
    read_one: Callable[..., list[Run]],
    path: Path,
    results: Mapping[str, Any],
    task: str,
    metrics: Sequence[str | None],
) -> list[Run]:
    """The run with its values; raises `ValueError` as `_checked_run`."""
    what = str(mapping_at(results, "config", "likelihoods").get("what") or "")
    try:
        values = values_of(mapping_at(results, "results", task), metrics, what)
    except ValueError as error:
        raise ValueError(f"{path}: `{task}`, {error}") from None
    return [replace(run, values=values) for run in read_one(metric=None)]


def _checked_run(
    path: Path,
    name: str,
    record: Mapping[str, Any],
    results: Mapping[str, Any],
    task: str,
    *,
    metric: str | None,
    is_only: bool,
) -> list[Run]:
    """The one run of a task and metric; raises `ValueError`, one line with file and value, where it is malformed."""
    check_fields(results, of_task(task), where=str(path))
    run = from_results(path, name, record, results, task, metric, is_only=is_only)
    if run.settings:
        check_settings(run.settings, where=str(path))
    for value, what in ((run.value, run.metric), (run.stderr, f"the standard error of {run.metric}")):
        if value is not None and not 0 <= value <= 1:
            told = f"{path}: `{task}`, {what} is {shortened(value)}, which is no share (0 to 1)"
            raise ValueError(f"{told}; tables hold nothing else, so read it in that file")
    return [run]


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
