"""The flags of this package's commands, their help, and the one line that a wrong one ends in."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import Any, Final, NoReturn

from lm_eval_codd.names import unknown_name
from lm_eval_codd.settings import unknown_value

__all__ = ["Parser", "filled"]

_UNKNOWN: Final = "unrecognized arguments: "
_KINDS: Final[dict[Any, str]] = {int: "N", float: "X", Path: "FILE"}  # what a flag's value is called in --help


def filled(text: str, width: int) -> str:
    """Text for a terminal: paragraphs filled, and indented lines as they stand; commands go on after a backslash."""
    lines: list[str] = []
    paragraph: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.strip() and not line.startswith(" "):
            paragraph.append(line)
            continue
        lines += [*textwrap.wrap(" ".join(paragraph), width, break_on_hyphens=False), *_continued(line, width)]
        paragraph = []
    return "\n".join(lines).strip("\n")


def _continued(line: str, width: int) -> list[str]:
    """A line, over several where it is too long: broken before flags, never within quotes."""
    parts = line.split(" --")
    lines = parts[:1]
    for part in parts[1:]:
        is_quoted = lines[-1].count("'") % 2 == 1
        if is_quoted or len(f"{lines[-1]} --{part} \\") <= width:
            lines[-1] += f" --{part}"
        else:
            lines = [*lines[:-1], f"{lines[-1]} \\", f"      --{part}"]
    return lines


class _Formatter(argparse.HelpFormatter):
    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return _KINDS.get(action.type, "NAME")

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return filled(text, width)


class Parser(argparse.ArgumentParser):
    """argparse that raises `ValueError`, one line, where it would print its usage and end the program.

    Descriptions and epilogs are shown as `filled` has them.
    """

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **{"formatter_class": _Formatter, **given})

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong; a flag or a choice that is unknown with the nearest there are."""
        if message.startswith(_UNKNOWN):
            word = message.removeprefix(_UNKNOWN).split()[0].partition("=")[0]
            flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
            known = flags if word.startswith("-") else []
            message = unknown_name(word, known, kind="flag") if known else f"`{word}` is not expected here"
        raise ValueError(f"{message} (--help says more)")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError:
            if action.type not in (int, float):
                raise
            noun = "a whole number" if action.type is int else "a number"
            raise ValueError(f"`{_shown(action)} {arg_string}` must be {noun}") from None

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            said = unknown_value(_shown(action), value, map(str, action.choices))
            # As it was typed: `--format xml`, and a command of its own alone.
            typed = f"{_shown(action)} " if action.option_strings else ""
            raise ValueError(said.replace(f"{_shown(action)}=", typed, 1))


def _shown(action: argparse.Action) -> str:
    return action.option_strings[0] if action.option_strings else str(action.metavar or action.dest)
