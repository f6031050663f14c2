"""What a result's task says of its metrics: which are shown, how they are summed up, and its own arguments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.grading import INVALID, UNREADABLE

__all__ = ["invalid_mark", "is_mean", "number", "shown_metrics", "task_arguments"]

_NOT_METRICS: Final = ("name", "alias", "sample_len", "sample_count")
# Functions of lm-eval's filters that put something else in the place of an answer in which they find nothing.
_REGEX_FILTERS: Final = ("regex", "multi_choice_regex")
# Arguments of this package's tasks in a result's metadata, and their defaults; of corpora and of samples below a key.
_TASK_ARGUMENTS: Final = {"clean": "paper", "template": "paper", "shots": 0}
_PACKING: Final = {"length": 1024, "group": 1000}
_JUDGE: Final = {"protocol": "duo", "scorer": "gpt2-large", "max_length": 1024}


def shown_metrics(scores: Mapping[str, Any], metadata: Mapping[str, Any]) -> list[str | None]:
    """The metric that the task says is reported (None where it is not there), else all of them."""
    reported = metadata.get("reported")
    if reported is not None:
        return [reported if number(scores.get(reported)) is not None else None]
    hidden = (*_NOT_METRICS, UNREADABLE)
    names = [name for name, value in scores.items() if number(value) is not None and "_stderr," not in name]
    return [name for name in names if name.partition(",")[0] not in hidden] or [None]


def is_mean(task_config: Mapping[str, Any], metric: str) -> bool:
    """Whether a metric's score is a mean over documents; of one that the task does not describe it is taken to be."""
    described = task_config.get("metric_list")
    found = [one for one in described or () if isinstance(one, Mapping) and one.get("metric") == metric]
    return all(one.get("aggregation", "mean") == "mean" for one in found)


def invalid_mark(task_config: Mapping[str, Any], name: str) -> str | None:
    """What the filter of this name makes of an answer that it cannot read; None where it marks none."""
    described = task_config.get("filter_list")
    for one in described if isinstance(described, list) else ():
        if isinstance(one, Mapping) and one.get("name") == name:
            for function in one.get("filter") or ():
                if isinstance(function, Mapping) and function.get("function") in _REGEX_FILTERS:
                    return str(function.get("fallback", INVALID))
    return None


def task_arguments(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of this package's tasks that are not their default."""
    packing, judge = (metadata.get(key) or {} for key in ("packing", "judge"))
    if "scorer" in judge:  # wherever it lies
        judge = {**judge, "scorer": Path(str(judge["scorer"])).name}
    of_judge = {f"judge_{name}": value for name, value in _others(judge, _JUDGE).items()}
    of_corpus = _others(packing, {**_PACKING, "insert_eos": metadata.get("ends_texts")})
    return {**_others(metadata, _TASK_ARGUMENTS), **of_corpus, **of_judge}


def _others(given: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are not the usual ones; a word or a number as it is, all else as text."""
    found = {name: given[name] for name in usual if name in given and given[name] != usual[name]}
    return {name: value if isinstance(value, str | int | float) else str(value) for name, value in found.items()}


def number(value: object) -> float | None:
    """The value if it is a number."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
