r"""How d1 (arXiv 2504.12216) grades GSM8K and MATH-500, its oddities included.

GSM8K: the number in the first box that has one, whose digits are not grouped (`\boxed{1,000}` is 1), against a gold
number without a sign. MATH-500: the last box as text; an answer that names no box is compared as a whole.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Final

from lm_eval_codd.grading.answers import between_marks, braced_fraction, last_box, slashed_fraction, unboxed

__all__ = ["gsm8k_answer", "gsm8k_target", "math500_answer", "math500_is_correct", "normalised"]

_OPENING: Final = "\\boxed{"
_NUMBER: Final = re.compile(r"-?\d+\.?\d*")
_GOLD: Final = re.compile(r"####\s*\$?([\d,]+(?:\.\d+)?)")
_DROPPED: Final = ("\\left", "\\right", "^{\\circ}", "^\\circ", "\\$")
_UNIT: Final = "\\text{ "
_LONGEST_NAME: Final = 2


def gsm8k_answer(text: str) -> float | None:
    """The first number of the first box that has one, else the last number between `<answer>` marks."""
    for box in _boxes(text):
        if (number := _number(box, which=0)) is not None:
            return number
    between = between_marks(text)
    return _number(between, which=-1) if between else None


def gsm8k_target(solution: str) -> float | None:
    """The number behind a gold solution's `####`; None, which no answer equals, where it is negative."""
    gold = _GOLD.search(solution)
    digits = gold.group(1).replace(",", "") if gold else ""
    return float(digits) if digits else None


def math500_answer(text: str) -> str | None:
    """What stands in the last box, else the whole text; of an empty or unclosed box, what is between `<answer>` marks.

    None where there is nothing of all that.
    """
    box = last_box(text, or_else=text)
    answer = None if box is None else unboxed(box)
    return answer or between_marks(text) or answer


def math500_is_correct(answer: str | None, target: str) -> bool:
    """Whether an extracted answer and the gold one are the same text, normalised where both can be."""
    if answer is None:
        return False
    try:
        return normalised(answer) == normalised(target)
    except (ValueError, IndexError):
        return answer == target


def normalised(text: str) -> str:
    r"""An answer in the one form that is compared.

    Raises:
        ValueError: it has two units, or a fraction with a slash that is none of whole numbers.
        IndexError: nothing follows a `\sqrt` or `\frac`.
    """
    text = text.replace("\n", "").replace("\\!", "").replace("\\\\", "\\")
    text = text.replace("tfrac", "frac").replace("dfrac", "frac")
    for dropped in _DROPPED:
        text = text.replace(dropped, "")
    if _UNIT in text:
        text, _ = text.split(_UNIT)
    text = text.replace("\\%", "").replace("\\%", "")  # twice, as officially
    text = text.replace(" .", " 0.").replace("{.", "{0.")
    text = f"0{text}" if text.startswith(".") else text
    name, *value = text.split("=")
    if len(value) == 1 and len(name) <= _LONGEST_NAME:
        text = value[0]
    text = _braced_fractions(_braced_roots(text).replace(" ", ""))
    return slashed_fraction("\\frac{1}{2}" if text == "0.5" else text)


def _boxes(text: str) -> Iterator[str]:
    r"""What is between `\boxed{` and the next closing brace, on one line, from left to right."""
    start = text.find(_OPENING)
    while start >= 0 and (end := text.find("}", start)) >= 0:
        line = text.find("\n", start, end)
        if line < 0:
            yield text[start + len(_OPENING) : end]
        start = text.find(_OPENING, end if line < 0 else line)


def _number(text: str, which: int) -> float | None:
    """A text that is a number, else the first (0) or last (-1) number in it."""
    with contextlib.suppress(ValueError):
        return float(text.strip())
    numbers = _NUMBER.findall(text)
    return float(numbers[which]) if numbers else None


def _braced_roots(text: str) -> str:
    r"""`\sqrtx` as `\sqrt{x}`; a blank is such an x."""
    before, *roots = text.split("\\sqrt")
    return before + "".join(f"\\sqrt{root}" if root[0] == "{" else f"\\sqrt{{{root[0]}}}{root[1:]}" for root in roots)


def _braced_fractions(text: str) -> str:
    r"""`\fracab` and `\fraca{b}` as `\frac{a}{b}`; all stay where one of them has a single character."""
    before, *fractions = text.split("\\frac")
    if any(len(rest) == 1 for rest in fractions if rest[0] != "{"):
        return text
    return before + "".join(f"\\frac{braced_fraction(rest)}" for rest in fractions)
