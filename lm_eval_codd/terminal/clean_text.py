"""Text from files and models made fit to be shown: no control sequence of a terminal, nothing that UTF-8 cannot hold.

Names and messages come out of files that anyone may have written. Each format escapes its own markup; what is no
character anywhere is replaced here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["last_line", "one_line", "shortened", "without_homes"]

_SPACES: Final = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
# Control characters, halves of surrogate pairs, what turns the direction of a line, and what is no character.
_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")
# Folders of a person's own, on the systems that runs are made on; what follows the name is kept.
_HOME: Final = re.compile(r"(?<![\w.~-])(?:/home/[^/\s\"',;:]+|/Users/[^/\s\"',;:]+|/root)(?=[/\s\"',;:]|$)")


def one_line(text: object) -> str:
    """The text on one line: line breaks and tabs as spaces, what cannot be seen as U+FFFD."""
    return _UNSEEN.sub("\ufffd", _SPACES.sub(" ", str(text)))


def shortened(value: object, length: int = 60) -> str:
    """A value as Python writes it, cut in the middle of a message where it is long."""
    text = one_line(repr(value))
    return text if len(text) <= length else f"{text[: length - 3]}..."


def last_line(error: Exception) -> str:
    """What an error says, without the lines above that say where it came from."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


def without_homes(value: Any) -> Any:
    """The value, its texts at any depth with `~` for the home folder of whoever made or reads it.

    For what is passed on to others. A record keeps its paths: by them a run is found again.
    """
    if isinstance(value, str):
        own = os.path.expanduser("~")
        text = value.replace(f"{own}/", "~/") if len(own) > 1 else value
        return _HOME.sub("~", "~" if text == own else text)
    if isinstance(value, Mapping):
        return {without_homes(key): without_homes(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_homes(one) for one in value]
    return value
