"""The flags of this package's commands, and the one line that a wrong one ends in."""

from __future__ import annotations

import argparse
from typing import Final, NoReturn

from lm_eval_codd.names import unknown_name

__all__ = ["Parser"]

_UNKNOWN: Final = "unrecognized arguments: "


class Parser(argparse.ArgumentParser):
    """argparse that raises `ValueError`, one line, where it would print its usage and end the program."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong; a flag that is unknown with the nearest there are."""
        if message.startswith(_UNKNOWN):
            word = message.removeprefix(_UNKNOWN).split()[0].partition("=")[0]
            flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
            known = flags if word.startswith("-") else []
            message = unknown_name(word, known, kind="flag") if known else f"`{word}` is not expected here"
        raise ValueError(f"{message} (--help says more)")
