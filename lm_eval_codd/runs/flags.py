"""Command-line flags as data: one table that is parsed, checked and printed as help.

argparse is not used because the value of `--run` is itself a line of flags (`--run '--limit=8 --task gsm8k'`), which
argparse takes for flags of the command.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lm_eval_codd.names import EXPLAINED, unknown_name

_TRUE: Final = ("true", "1", "yes")
_FALSE: Final = ("false", "0", "no")
_HELP_COLUMN: Final = 32
_WIDEST_HELP: Final = 110


@dataclass(frozen=True)
class Flag:
    """One flag.

    Args:
        name: without the leading dashes.
        kind: annotation of its value: `str`, `int`, `float` or `bool`, with ` | None` where `none` is allowed. A
            `bool` may stand alone (`--force`) or carry a value (`--force=false`).
        help: one sentence for `--help`.
        default: what the help says happens without it.
        choices: what the help shows as its values.
        repeat: may be given several times; its value is a list.
        alone: its value where none follows; without it a flag that is not a `bool` needs one.
    """

    name: str
    kind: str
    help: str
    default: str = ""
    choices: Sequence[str] = ()
    repeat: bool = False
    alone: str | None = None


def parse(tokens: Sequence[str], flags: Iterable[Flag], others: Iterable[Flag] = ()) -> dict[str, Any]:
    """Values of the flags found in `tokens`, converted to their kinds; only those that were given.

    Both `--flag value` and `--flag=value` are read, and `-` in a name is the same as `_`. `others` are read too, and
    never proposed.

    Raises:
        ValueError: one line for an unknown flag (with the nearest), a missing or impossible value, or a repetition.
    """
    own = {flag.name.replace("-", "_"): flag for flag in flags}
    known = {**own, **{flag.name: flag for flag in others}}
    values: dict[str, Any] = {}
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        if not token.startswith("--"):
            raise ValueError(f"`{token}` is not a flag and belongs to none; put values with spaces in quotes")
        written, has_value, text = token[2:].partition("=")
        name = written.replace("-", "_")
        if name not in known and name in EXPLAINED:
            raise ValueError(f"unknown flag `--{written}`; {EXPLAINED[name]}")
        if name not in known:
            raise ValueError(unknown_name(f"--{written}", [f"--{flag.name}" for flag in own.values()], kind="flag"))
        flag = known[name]
        if not has_value:
            text = _take_value(flag, rest)
        if flag.repeat:
            values.setdefault(name, []).append(text)
        elif name in values:
            raise ValueError(f"`--{name}` is given twice; leave one out")
        else:
            values[name] = convert(name, text, flag.kind)
    return values


def convert(name: str, text: str, kind: str) -> Any:
    """`text` as a value of `kind`; raises `ValueError` with the flag, the text and what is allowed."""
    wanted, _, optional = kind.partition(" | ")
    if optional and text.lower() == "none":
        return None
    if wanted == "str":
        return text
    if wanted == "bool":
        if text.lower() in (*_TRUE, *_FALSE):
            return text.lower() in _TRUE
        raise ValueError(f"`--{name} {text}` must be true or false")
    try:
        return {"int": int, "float": float}[wanted](text)
    except ValueError:
        noun = {"int": "a whole number", "float": "a number"}[wanted]
        raise ValueError(f"`--{name} {text}` must be {noun}{' or none' if optional else ''}") from None


def help_width() -> int:
    """Of lines of help: the terminal's, within bounds."""
    return max(60, min(shutil.get_terminal_size().columns, _WIDEST_HELP))


def format_help(groups: Mapping[str, Sequence[Flag]]) -> str:
    """The flags as aligned text, a section each group, as wide as the terminal."""
    width = help_width()
    lines: list[str] = []
    for title, flags in groups.items():
        lines += textwrap.wrap(f"{title}:", width, break_on_hyphens=False)
        for flag in flags:
            head = f"  --{flag.name}"
            wanted = flag.kind.partition(" ")[0]
            if flag.choices:
                head += " " + "|".join(flag.choices)
            elif wanted != "bool":
                head += " " + {"str": "TEXT", "int": "N", "float": "X"}[wanted]
            text = flag.help + (f" (default: {flag.default})" if flag.default else "")
            body = textwrap.wrap(text, width - _HELP_COLUMN, break_on_hyphens=False) or [""]
            if len(head) < _HELP_COLUMN:
                head = head.ljust(_HELP_COLUMN) + body.pop(0)
            lines += textwrap.wrap(head, width, subsequent_indent="      ") if len(head) > width else [head]
            lines.extend(" " * _HELP_COLUMN + line for line in body)
        lines.append("")
    return "\n".join(lines)


def _take_value(flag: Flag, rest: list[str]) -> str:
    if flag.kind == "bool":
        return rest.pop(0) if rest and rest[0].lower() in (*_TRUE, *_FALSE) else "true"
    if flag.alone is not None and (not rest or rest[0].startswith("--")):
        return flag.alone
    # The value of a repeated flag (`--run`) is a line of flags, so it may begin with dashes.
    if not rest or (rest[0].startswith("--") and not flag.repeat):
        raise ValueError(f"`--{flag.name}` needs a value")
    return rest.pop(0)
