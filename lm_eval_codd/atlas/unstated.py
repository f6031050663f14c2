"""What sources leave unsaid: which flags would say it, and what a user assumes in their place."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from lm_eval_codd.names import unknown_name
from lm_eval_codd.registration import paper_dir
from lm_eval_codd.runs.flags import convert
from lm_eval_codd.runs.run_flags import KIND_OF_FLAG
from lm_eval_codd.runs.yaml_file import read_yaml

if TYPE_CHECKING:
    from lm_eval_codd.atlas.cell import Cell

__all__ = ["METRIC", "left_to_a_default", "names_of", "parse_assumed"]

# Which figure it is: no flag, since one run has all of them.
METRIC: Final = "metric"


# How a source says that it has left a setting to its own code.
_DEFAULT: Final = "default of "


def left_to_a_default(cell: Cell) -> list[str]:
    """Its settings that the source names and gives no value of, in the words that `names_of` reads."""
    left = {name: value for name, value in cell.settings.items() if str(value).startswith(_DEFAULT)}
    said = " ".join(cell.unknown)
    return [f"{name} ({value})" for name, value in left.items() if name not in said]


@functools.cache
def names_of(phrase: str) -> tuple[str, ...]:
    """Flags that say what a source leaves unsaid in these words; `metric` where each run answers it, empty for none."""
    return next((tuple(names) for start, names in _starts() if phrase.startswith(start)), ())


def parse_assumed(texts: Iterable[str]) -> dict[str, str]:
    """Values by flag, from `name=value,name=value`.

    Raises:
        ValueError: one line: no name and value, no flag that anything unsaid is said by, or no value of its kind.
    """
    assumable = sorted({name for _, names in _starts() for name in names} - {METRIC})
    found: dict[str, str] = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise ValueError(f"`--assume {part}` must be name=value, such as gen_length=256")
        name = name.removeprefix("--").replace("-", "_")
        if name not in assumable:
            raise ValueError(unknown_name(name, assumable, kind="assumption"))
        if name in found and found[name] != value:
            raise ValueError(f"`--assume` has `{name}` as {found[name]} and as {value}; leave out one of them")
        try:
            convert(name, value, KIND_OF_FLAG[name])
        except ValueError as error:
            raise ValueError(f"`--assume {part}`: {error}") from None
        found[name] = value
    return found


@functools.cache
def _starts() -> tuple[tuple[str, list[str]], ...]:
    """The longest beginnings first."""
    unstated: Mapping[str, list[str]] = read_yaml(paper_dir() / "mapping.yaml")["unstated"]
    return tuple(sorted(unstated.items(), key=lambda item: -len(item[0])))
