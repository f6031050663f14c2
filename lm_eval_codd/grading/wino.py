r"""How WINO (arXiv 2507.18578) grades GSM8K and ARC, its oddities included.

GSM8K: the last number from the first `\boxed{` of a line to that line's last brace, else the last number of the whole
answer; a gold solution is read in the same way. ARC: the letters behind the last box, with or without `<answer>` marks.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["gsm8k_answer", "is_number", "letter"]

_BOX: Final = re.compile(r"\\boxed\{(.*)\}")
# Digits in groups of three or not grouped, with a sign, and with decimals or nothing but decimals.
_NUMBER: Final = re.compile(r"[+-]?(?=\.?[0-9])(?:[1-9]\d{0,2}(?:,\d{3})*|\d*)(?:\.\d*)?(?!\d)")
_TOLERANCE: Final = 1e-5


def gsm8k_answer(text: str) -> float | None:
    """The last number of the first line's box that has one, else of the text."""
    box = _BOX.search(text)
    in_box = _NUMBER.findall(box.group(1).replace(",", "").replace("+", "").strip()) if box else []
    numbers = in_box or _NUMBER.findall(text)
    return float(numbers[-1].replace(",", "")) if numbers else None


def is_number(answer: float | None, gold: float | None) -> bool:
    """Whether both are there, and the same number."""
    return answer is not None and gold is not None and abs(answer - gold) < _TOLERANCE


def letter(text: str) -> str | None:
    """The last line of the last box, up to a full stop; None where that is not letters alone.

    Labels that are numbers, which some questions have, are never read.
    """
    answer = text.split("<answer>")[-1].split("</answer>")[0].strip()
    answer = answer.split("\\boxed{")[-1].split("}")[0].strip()
    answer = answer.split("\n")[-1].strip().split(".")[0]
    return answer.upper() if answer.isalpha() else None
