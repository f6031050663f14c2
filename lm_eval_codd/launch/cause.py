"""Why a run failed, out of the end of its log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

# An exception as Python prints it, or a command of this package that says what is wrong.
_CAUSE: Final = re.compile(r"(?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt)\b(?::.*)?|(?:lm-eval-codd|error)\b[^:]*: .*")
_LONGEST: Final = 300


def find_cause(lines: Sequence[str]) -> str:
    """The last line that names an error, without the module of its class; else the last line; else nothing.

    Args:
        lines: the end of a log.
    """
    found = next((line for line in reversed(lines) if _CAUSE.fullmatch(line)), lines[-1] if lines else "")
    cause = re.sub(r"^(?:\w+\.)+(?=\w+(?:Error|Exception|Interrupt)\b)", "", found)
    return cause if len(cause) <= _LONGEST else f"{cause[:_LONGEST]}..."
