"""One task and metric of a results file as a `Run`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.grading import UNREADABLE
from lm_eval_codd.reporting.likelihoods import likelihood_arguments, likelihood_notes, read_by_likelihoods
from lm_eval_codd.reporting.metrics import invalid_mark, is_mean, number, task_arguments
from lm_eval_codd.reporting.run import Run
from lm_eval_codd.reporting.unconditional import ROW, in_terms_of_others
from lm_eval_codd.settings.older_records import decodes_otherwise, filled_settings

__all__ = ["from_results", "mapping_at", "unfinished"]

# Beside the checkpoint, its adapter and the circuit, what answers depend on and no setting of a decode says.
_MODEL_ARGUMENTS: Final = ("planner", "tokenizer", "add_bos_token", "chat_template_args")


def from_results(
    path: Path,
    name: str,
    record: Mapping[str, Any],
    results: Mapping[str, Any],
    task: str,
    metric: str | None,
    *,
    is_only: bool,
) -> Run:
    """The run of a task and metric of a results file.

    Args:
        path: of the file.
        name: of the run.
        record: of the launcher, empty where lm-eval alone wrote the file.
        results: what the file holds.
        task: in it.
        metric: of it; None for a task without one.
        is_only: whether the file has no other task.

    Raises:
        ValueError: one line: settings of a model without prompts are impossible.
    """
    task_config = mapping_at(results, "configs", task)
    try:
        config = in_terms_of_others(mapping_at(results, "config"), task_config, task)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    metadata = mapping_at(task_config, "metadata")
    scores = mapping_at(results, "results", task)
    documents = mapping_at(results, "n-samples", task)
    of_metric, _, of_filter = (metric or "").partition(",")
    unreadable = number(scores.get(f"{UNREADABLE},{of_filter}"))
    requests = config.get("requests") or 0
    # Counts and times are of the whole file; only with one task are they that task's.
    seconds = config.get("decoding_seconds") if is_only and requests else None
    stamp = path.stem.removeprefix("results_")
    samples = path.with_name(f"samples_{task}_{stamp}.jsonl")
    prompts = (results.get("system_instruction"), task_config.get("description"))
    settings = {**mapping_at(config, "settings"), **mapping_at(config, "settings_of_tasks", task)}
    settings = filled_settings(settings) if settings else {}
    asks_for_text = task_config.get("output_type", "generate_until") == "generate_until"
    likelihoods = {} if asks_for_text else mapping_at(config, "likelihoods")
    if settings and likelihoods and settings["paradigm"] != ROW:
        settings = read_by_likelihoods(settings, config.get("family"))
    # lm-eval makes turns of examples by itself since 2026, and did not before.
    num_fewshot = mapping_at(results, "n-shot").get(task) or 0
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
        has_other_rows=not mapping_at(metadata, "data").get("is_published_set", True),
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
        estimator=mapping_at(likelihoods, "settings").get("estimator"),
        scores={name: value for name, found in scores.items() if (value := number(found)) is not None},
        has_turns=has_turns,
        published=_published(record),
    )


def _published(record: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The published cells of a launcher's run with what was assumed for them."""
    return {
        str(cell): {str(name): str(value) for name, value in assumed.items()}
        for cell, assumed in mapping_at(record, "published").items()
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
    if until := mapping_at(config, "gen_kwargs").get("until"):
        given["until"] = until
    return {n: v if isinstance(v, str | int | float) else json.dumps(v, sort_keys=True) for n, v in given.items()}


def unfinished(name: str, status: str, record: Mapping[str, Any]) -> Run:
    """A run without a score: what its record says it is."""
    identity = mapping_at(record, "identity")
    return Run(
        name=name,
        task=str(record.get("task", "")),
        status=status,
        family=identity.get("family"),
        settings=filled_settings(settings) if (settings := mapping_at(identity, "config")) else {},
        checkpoint=identity.get("checkpoint"),
        peft=identity.get("peft"),
        circuit=identity.get("circuit"),
        seconds=record.get("seconds"),
    )


def _limit(config: Mapping[str, Any], record: Mapping[str, Any]) -> str | None:
    documents = mapping_at(record, "identity").get("samples")
    if documents:
        return f"documents {documents[0]} to {documents[1] - 1}"
    limit = config.get("limit")
    return None if limit is None else f"limit {limit:g}"


def _versions(results: Mapping[str, Any], config: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, str]:
    known = {"lm_eval": results.get("lm_eval_version"), "transformers": results.get("transformers_version")}
    return {
        k: str(v) for k, v in {**mapping_at(record, "versions"), **known, **mapping_at(config, "versions")}.items() if v
    }


def mapping_at(value: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The mapping at a path of keys; an empty one where there is none."""
    for key in path:
        value = value.get(key) or {}
        if not isinstance(value, Mapping):
            return {}
    return value
