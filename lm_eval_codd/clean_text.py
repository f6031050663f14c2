"""Text from files and models made fit to be shown: no control sequence of a terminal, nothing that UTF-8 cannot hold.

Names and messages come out of files that anyone may have written. Each format escapes its own markup; what is no
character anywhere is replaced here.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["one_line", "shortened"]

_SPACES: Final = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
# Control characters, halves of surrogate pairs, what turns the direction of a line, and what is no character.
_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")


def one_line(text: object) -> str:
    """The text on one line: line breaks and tabs as spaces, what cannot be seen as U+FFFD."""
    return _UNSEEN.sub("\ufffd", _SPACES.sub(" ", str(text)))


def shortened(value: object, length: int = 60) -> str:
    """A value as Python writes it, cut in the middle of a message where it is long."""
    text = one_line(repr(value))
    return text if len(text) <= length else f"{text[: length - 3]}..."
