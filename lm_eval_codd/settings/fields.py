"""One setting: type, range, choices and help stand in its dataclass field, and every check and flag is derived."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from lm_eval_codd.names import near_names


class Range(NamedTuple):
    """Which numbers are allowed, and how a message says so."""

    holds: Callable[[float], bool]
    text: str


AT_LEAST_1: Final = Range(lambda v: v >= 1, "at least 1")
AT_LEAST_0: Final = Range(lambda v: v >= 0, "0 or more")
ABOVE_0: Final = Range(lambda v: v > 0, "above 0")


@dataclass(frozen=True)
class Facts:
    """What is known of a setting beside its type and default.

    Attributes:
        help: one line, for the launcher's flags.
        choices: the words it may be.
        range: the numbers it may be.
        off: a number that means None.
        is_circuits: whether only a circuit reads it.
        is_axis: whether a table of results goes over it (rows, columns, grid); other settings say what a table is of.
        paradigm: the only one that reads it, where no cache is kept; None where both do.
    """

    help: str
    choices: tuple[str, ...] = ()
    range: Range | None = None
    off: float | None = None
    is_circuits: bool = False
    is_axis: bool = False
    paradigm: str | None = None


def setting(default: Any, help: str, **facts: Any) -> Any:
    """A dataclass field with its `Facts`."""
    return dataclasses.field(default=default, metadata={"facts": Facts(help, **facts)})


def shared_with(settings: Any, name: str) -> Any:
    """A setting of another dataclass too: the same default, range and help."""
    field = next(field for field in dataclasses.fields(settings) if field.name == name)
    return dataclasses.field(default=field.default, metadata=field.metadata)


def facts_of(field: dataclasses.Field[Any]) -> Facts:
    """The facts of a field made by `setting`."""
    facts: Facts = field.metadata["facts"]
    return facts


def checked(field: dataclasses.Field[Any], value: Any, ranges: Mapping[str, Range]) -> Any:
    """The value in its one spelling: 0 is 0.0, NumPy's numbers are Python's, and `off` is None.

    Args:
        field: made by `setting`.
        value: given for it.
        ranges: by name, in place of the fields' own.

    Raises:
        ValueError: one line with the value, what is allowed and what is near.
    """
    name, facts = field.name, facts_of(field)
    _check_type(field, value)
    if facts.choices and value is not None and value not in facts.choices:
        raise ValueError(unknown_value(name, value, facts.choices))
    if value is None or (kind := {"int": int, "float": float}.get(str(field.type).split(" ")[0])) is None:
        return value
    value = kind(value)
    allowed = ranges.get(name, facts.range)
    if not math.isfinite(value) or (allowed and not allowed.holds(value)):
        raise ValueError(f"`{name}={value:g}` is out of range; it must be {allowed.text if allowed else 'finite'}")
    return None if value == facts.off else value


def unknown_value(name: str, value: object, allowed: Iterable[str]) -> str:
    """One line: this value is not allowed for `name`, these are."""
    allowed = list(allowed)
    near = near_names(str(value), allowed, most=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"`{name}={value}` is not known; use one of {', '.join(allowed)}{hint}"


def either(options: Iterable[object]) -> str:
    """`a or b`."""
    return " or ".join(str(option) for option in options)


def _check_type(field: dataclasses.Field[Any], value: object) -> None:
    wanted, _, optional = str(field.type).partition(" | ")
    if value is None and optional:
        return
    # bool is an int in Python, so `num_steps=True` would pass as 1.
    if wanted == "bool":
        fits = isinstance(value, bool)
    elif wanted == "str":
        fits = isinstance(value, str)
    elif wanted == "int":
        fits = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    else:
        fits = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not fits:
        noun = {"int": "a whole number", "float": "a number", "bool": "True or False", "str": "a word"}[wanted]
        if choices := facts_of(field).choices:  # as `cache=True`
            noun = f"one of {', '.join(choices)}"
        raise ValueError(f"`{field.name}={value!r}` must be {noun}{' or None' if optional else ''}")
