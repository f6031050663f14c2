r"""How KLASS (arXiv 2511.05664) reads answers: a number of GSM8K, and the programs of HumanEval and MBPP.

As its released graders do, their oddities included: numbers are compared as text, and a number in a box is taken as it
is written (`\boxed{1,000}` is 1, `\boxed{5.}` is "5."). MATH is in `klass_math`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

__all__ = ["gsm8k_answer", "gsm8k_target", "humaneval_code", "mbpp_code", "mbpp_tests", "without_zeros"]

_MARK: Final = "answer is"
_OPENING: Final = "\\boxed{"
_NUMBER: Final = re.compile(r"-?\d+\.?\d*")
_GOLD: Final = re.compile(r"#### (-?[0-9.,]+)")
_DECIMAL: Final = re.compile(r"^-?\d+\.\d+$")
_ANY_FENCE: Final = re.compile(r"```(?:python)?\n")
_FENCE: Final = "```"
_PYTHON: Final = "```python"
_ASSERT: Final = "assert "


def gsm8k_answer(text: str) -> str:
    """The number in the first box behind the last "answer is", else the first number there; empty where there is none.

    Without an "answer is": in the first box of the text, else the text's last number.
    """
    *before, text = text.split(_MARK)
    box = _first_box(text)
    if box is not None:
        number = _NUMBER.search(box)
        return box.strip().replace(",", "") if number is None else number.group()
    numbers = _NUMBER.findall(text.replace(",", ""))
    if not numbers:
        return ""
    return without_zeros(numbers[0 if before else -1].rstrip("."))


def gsm8k_target(solution: str) -> str:
    """The number behind a gold solution's `####`; empty where there is none."""
    gold = _GOLD.search(solution)
    return without_zeros(gold.group(1).replace(",", "")) if gold else ""


def without_zeros(number: str) -> str:
    """A decimal without the zeros at its end, and without its point where nothing else is behind that."""
    return number.rstrip("0").rstrip(".") if _DECIMAL.match(number) else number


def humaneval_code(text: str) -> str:
    """The first block, of Python or without a language, closed or not, else the text; without blanks around it.

    Without the indentation of its first line too: behind HumanEval's prompt only code at the left margin runs.
    """
    opening = _ANY_FENCE.search(text)
    return (text if opening is None else text[opening.end() :].partition(_FENCE)[0]).strip()


def mbpp_code(text: str) -> str:
    """The first block of Python that is closed, else the text."""
    _, _, rest = text.partition(_PYTHON)
    code, closed, _ = rest.partition(_FENCE)
    return code if closed else text


def mbpp_tests(tests: Sequence[str]) -> str:
    """A program that fails where the expression of one of the assertions, its message included, is not true."""
    return "\n".join(f"assert (\n{test.strip().removeprefix(_ASSERT)}\n)" for test in tests)


def _first_box(text: str) -> str | None:
    r"""What is between the first `\boxed{` that is not empty and the next closing brace."""
    start = text.find(_OPENING)
    while start >= 0:
        inside = start + len(_OPENING)
        if not text.startswith("}", inside):
            end = text.find("}", inside)
            return None if end < 0 else text[inside:end]
        start = text.find(_OPENING, inside)
    return None
