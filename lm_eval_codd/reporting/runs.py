"""From run folders to `Run`s. Nothing is read that is not needed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.clean_text import shortened
from lm_eval_codd.grading import UNREADABLE
from lm_eval_codd.older_records import decodes_otherwise, filled_settings
from lm_eval_codd.reporting.likelihoods import likelihood_arguments, likelihood_notes, read_by_likelihoods
from lm_eval_codd.reporting.metrics import invalid_mark, is_mean, number, shown_metrics, task_arguments
from lm_eval_codd.reporting.run import Run
from lm_eval_codd.reporting.schema import OF_FILE, OF_RECORD, check_fields, check_settings, of_task
from lm_eval_codd.reporting.unconditional import ROW, in_terms_of_others
from lm_eval_codd.reporting.values import is_value, values_of

__all__ = ["Folder", "read_folder", "read_runs"]

# Beside the checkpoint, its adapter and the circuit, what answers depend on and no setting of a decode says.
_MODEL_ARGUMENTS: Final = ("planner", "tokenizer", "add_bos_token", "chat_template_args")


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
    check_settings(_mapping(record, "identity", "config"), where=str(path))
    status, task = record.get("status") or "", record.get("task") or ""
    if status != "finished":
        return [_unfinished(folder.name, status, record)]
    problems: list[str] = []
    runs = _read_results(folder / str(record.get("results")), folder.name, record, problems)
    if problems:
        raise ValueError(problems[0])
    # The results of a group are those of its tasks.
    return [run for run in runs if run.task == task] or runs or [_unfinished(folder.name, status, record)]


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
    tasks = [task for task in _mapping(results, "configs") if task in _mapping(results, "results")]
    runs: list[Run] = []
    for task in tasks:
        is_only = len(tasks) == 1
        metrics = shown_metrics(_mapping(results, "results", task), _mapping(results, "configs", task, "metadata"))
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
    what = str(_mapping(results, "config", "likelihoods").get("what") or "")
    try:
        values = values_of(_mapping(results, "results", task), metrics, what)
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
    run = _from_results(path, name, record, results, task, metric, is_only=is_only)
    if run.settings:
        check_settings(run.settings, where=str(path))
    for value, what in ((run.value, run.metric), (run.stderr, f"the standard error of {run.metric}")):
        if value is not None and not 0 <= value <= 1:
            told = f"{path}: `{task}`, {what} is {shortened(value)}, which is no share (0 to 1)"
            raise ValueError(f"{told}; tables hold nothing else, so read it in that file")
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
    task_config = _mapping(results, "configs", task)
    try:
        config = in_terms_of_others(_mapping(results, "config"), task_config, task)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
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
    asks_for_text = task_config.get("output_type", "generate_until") == "generate_until"
    likelihoods = {} if asks_for_text else _mapping(config, "likelihoods")
    if settings and likelihoods and settings["paradigm"] != ROW:
        settings = read_by_likelihoods(settings, config.get("family"))
    # lm-eval makes turns of examples by itself since 2026, and did not before.
    num_fewshot = _mapping(results, "n-shot").get(task) or 0
    is_chat = results.get("chat_template_sha") is not None
    has_turns = not (num_fewshot and is_chat and results.get("fewshot_as_multiturn") is False)
    is_coupled = config.get("pc") is not None or config.get("circuit_identity") is not None
    older = decodes_otherwise(config, settings, coupled=is_coupled) if settings and not likelihoods else ()
    # What is counted for answers says nothing of likelihoods.
    counts = likelihoods if likelihoods else config
    return Run(
        name=name,
        task=task,
        metric=metric,
        value=None if metric is None else scores[metric],
        stderr=None if metric is None else number(scores.get(metric.replace(",", "_stderr,", 1))),
        is_mean=is_mean(task_config, of_metric),
        repeats=task_config.get("repeats") or 1,
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
        num_fewshot=num_fewshot,
        limit=_limit(config, record),
        batch_size=str(config.get("batch_size")),
        has_other_rows=not _mapping(metadata, "data").get("is_published_set", True),
        chat_template_sha=results.get("chat_template_sha"),
        system_prompt="\n\n".join(text for text in prompts if text),
        versions=_versions(results, config, record),
        hardware=config.get("device_name"),
        nfe=counts.get("mean_nfe", record.get("num_forward")) if is_only else None,
        circuit_calls=counts.get("mean_circuit_calls") if is_only else None,
        answer_tokens=counts.get("mean_answer_tokens") if is_only else None,
        seconds_per_sample=None if seconds is None else seconds * config.get("world_size", 1) / requests,
        is_alone=config.get("alone_on_device"),
        timed=None if seconds is None else requests,
        seconds_stderr=None if seconds is None else _seconds_stderr(config, requests),
        seconds=record.get("seconds"),
        task_arguments={**task_arguments(metadata), **likelihood_arguments(likelihoods)},
        model_arguments={**_model_arguments(config), **({} if has_turns else {"fewshot_as_multiturn": False})},
        warnings=(*older, *likelihood_notes(likelihoods), *(config.get("warnings") or ())),
        date=results.get("date") or 0.0,
        samples=samples if samples.is_file() else None,
        estimator=_mapping(likelihoods, "settings").get("estimator"),
        scores={name: value for name, found in scores.items() if (value := number(found)) is not None},
        has_turns=has_turns,
        published=_published(record),
    )


def _published(record: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The published cells of a launcher's run with what was assumed for them."""
    return {
        str(cell): {str(name): str(value) for name, value in assumed.items()}
        for cell, assumed in _mapping(record, "published").items()
        if isinstance(assumed, Mapping)
    }


def _seconds_stderr(config: Mapping[str, Any], requests: int) -> float | None:
    """Of the mean time of an answer; None where the result says no deviation, or no number for its batch size."""
    deviation, batch_size = config.get("seconds_deviation"), str(config.get("batch_size"))
    if deviation is None or not batch_size.isdecimal() or batch_size == "0":
        return None
    return float(deviation * math.sqrt(min(int(batch_size), requests) / requests))


def _model_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Those that were given; a word or number as it is, anything else as its JSON."""
    given = {name: value for name in _MODEL_ARGUMENTS if (value := config.get(name)) not in (None, {})}
    if until := _mapping(config, "gen_kwargs").get("until"):
        given["until"] = until
    return {n: v if isinstance(v, str | int | float) else json.dumps(v, sort_keys=True) for n, v in given.items()}


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
