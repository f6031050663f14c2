"""What results files and run records must look like, so that a malformed one is named, not believed.

Only what is read is looked at, and only its kind: a value that some version allowed stays readable. What is missing is
the reader's affair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, NamedTuple

from lm_eval_codd.settings import DecodingConfig
from lm_eval_codd.terminal.clean_text import shortened

__all__ = ["OF_FILE", "OF_RECORD", "check_fields", "check_settings", "of_task"]


class Kind(NamedTuple):
    """A kind of value: the test for it, and its name in messages."""

    holds: Callable[[Any], bool]
    name: str


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_TEXT: Final = Kind(lambda value: isinstance(value, str), "text")
_TEXTS: Final = Kind(
    lambda value: isinstance(value, list) and all(isinstance(v, str) for v in value), "a list of texts"
)
_MAPPING: Final = Kind(lambda value: isinstance(value, Mapping), "a mapping")
_TRUTH: Final = Kind(lambda value: isinstance(value, bool), "true or false")
_COUNT: Final = Kind(lambda value: _is_whole(value) and value >= 0, "a whole number of 0 or more")
_AMOUNT: Final = Kind(lambda value: _is_number(value) and value >= 0, "a number of 0 or more")
_SLICE: Final = Kind(
    lambda value: isinstance(value, list) and len(value) == 2 and all(map(_is_whole, value)), "two whole numbers"
)

Keys = tuple[str, ...]

# Of a results file as a whole.
OF_FILE: Final[Mapping[Keys, Kind]] = {
    **dict.fromkeys([("results",), ("configs",), ("config",), ("n-samples",), ("n-shot",)], _MAPPING),
    **dict.fromkeys([("model_name",), ("system_instruction",), ("chat_template_sha",)], _TEXT),
    **dict.fromkeys([("lm_eval_version",), ("transformers_version",)], _TEXT),
    ("date",): _AMOUNT,
    **{
        ("config", name): kind
        for kind, names in (
            (_MAPPING, ("settings", "settings_of_tasks", "versions", "likelihoods")),
            (_TEXT, ("family", "pretrained", "peft", "pc", "checkpoint_identity", "circuit_identity")),
            (_TEXT, ("model_dtype", "device_name", "planner", "tokenizer")),
            (_COUNT, ("model_max_length", "requests", "world_size", "decoding_version")),
            (_AMOUNT, ("limit", "decoding_seconds", "seconds_deviation")),
            (_AMOUNT, ("mean_nfe", "mean_circuit_calls", "mean_answer_tokens")),
            (_TEXTS, ("warnings",)),
            (_TRUTH, ("alone_on_device",)),
        )
        for name in names
    },
    ("config", "likelihoods", "settings"): _MAPPING,
    ("config", "likelihoods", "what"): _TEXT,
    ("config", "likelihoods", "mean_nfe"): _AMOUNT,
}

# Of a launcher's record of a run.
OF_RECORD: Final[Mapping[Keys, Kind]] = {
    **dict.fromkeys([("status",), ("task",), ("results",)], _TEXT),
    **dict.fromkeys([("identity",), ("versions",), ("published",), ("identity", "config")], _MAPPING),
    **dict.fromkeys([("seconds",), ("num_forward",)], _AMOUNT),
    **{("identity", name): _TEXT for name in ("family", "checkpoint", "peft", "circuit")},
    ("identity", "samples"): _SLICE,
}


def of_task(task: str) -> Mapping[Keys, Kind]:
    """The same of one task in a results file."""
    return {
        **dict.fromkeys([("results", task), ("configs", task), ("n-samples", task)], _MAPPING),
        **dict.fromkeys([("config", "settings_of_tasks", task), ("configs", task, "metadata")], _MAPPING),
        **dict.fromkeys([("configs", task, "metadata", "packing"), ("configs", task, "metadata", "judge")], _MAPPING),
        ("configs", task, "description"): _TEXT,
        ("configs", task, "repeats"): _COUNT,
        ("configs", task, "metadata", "reported"): _TEXT,
        ("configs", task, "metadata", "data", "is_published_set"): _TRUTH,
        ("n-samples", task, "effective"): _COUNT,
        ("n-samples", task, "original"): _COUNT,
        ("n-shot", task): _COUNT,
    }


def check_fields(data: Mapping[str, Any], wanted: Mapping[Keys, Kind], *, where: str) -> None:
    """Raise `ValueError`, one line, for the first value of another kind; a missing value or null is none.

    Args:
        data: of a file.
        wanted: kinds by path.
        where: the file, for the message.
    """
    for path, kind in wanted.items():
        value = _at(data, path)
        if value is not None and not kind.holds(value):
            raise ValueError(f"{where}: `{'.'.join(path)}` is {shortened(value)}, which is not {kind.name}")


def check_settings(settings: Mapping[str, Any], *, where: str) -> None:
    """Raise `ValueError`, one line, where a decode's settings are of another kind than `DecodingConfig` has.

    Settings of other versions, which it does not know, are passed over; so are ranges.
    """
    for field in fields(DecodingConfig):
        kind, _, optional = str(field.type).partition(" | ")
        value = settings.get(field.name, field.default)
        if not (value is None and optional) and not _OF_SETTINGS[kind].holds(value):
            raise ValueError(
                f"{where}: the setting `{field.name}` is {shortened(value)}, which is not {_OF_SETTINGS[kind].name}"
            )


_OF_SETTINGS: Final = {
    "str": _TEXT,
    "bool": _TRUTH,
    "int": Kind(_is_whole, "a whole number"),
    "float": Kind(_is_number, "a number"),
}


def _at(data: Any, path: Sequence[str]) -> Any:
    for key in path:
        if not isinstance(data, Mapping):
            return None
        data = data.get(key)
    return data
