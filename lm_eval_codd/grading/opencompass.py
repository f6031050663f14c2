"""How OpenCompass reads answers, as LLaDA's evaluation code runs it; their oddities are kept, for figures have them."""

from __future__ import annotations

import re
from typing import Final

_QUESTION: Final = "Question:"
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")
_STATED: Final = re.compile(r"the answer is[:\s]*(-?\d+(?:\.\d+)?)", re.IGNORECASE)
_TOLERANCE: Final = 1e-6


def last_number(text: str) -> str | None:
    """The last number before another "Question:"; commas end a number, so that 1,040 is 040."""
    numbers = _NUMBER.findall(text.split(_QUESTION)[0])
    return numbers[-1] if numbers else None


def stated_number(text: str) -> str | None:
    """The number behind the first "the answer is", anywhere in the text; else the last one."""
    stated = _STATED.search(text)
    return last_number(text) if stated is None else stated.group(1)


def gold_number(solution: str) -> str:
    """What stands behind `#### ` in a solution of GSM8K, without commas."""
    return solution.split("#### ")[1].replace(",", "")


def is_number(answer: str | None, gold: str) -> bool:
    """Whether an answer is the gold whole number, up to 1e-6."""
    if answer is None:
        return False
    if answer == gold:
        return True
    try:
        return abs(float(answer) - int(gold)) < _TOLERANCE
    except ValueError:
        return False
