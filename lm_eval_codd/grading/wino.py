r"""How WINO (arXiv 2507.18578) grades GSM8K, ARC, Sudoku and MBPP, its oddities included.

GSM8K: the last number from the first `\boxed{` of a line to that line's last brace, else the last number of the whole
answer; a gold solution is read in the same way. ARC: the letters behind the last box, with or without `<answer>` marks.
Sudoku: what stands between `<answer>` marks, by position. MBPP: the function that the first test calls. Countdown is
d1's, prompt and grader: `d1_puzzles`.
"""

from __future__ import annotations

import re
import textwrap
from typing import Final

from lm_eval_codd.grading.d1_puzzles import sudoku_places

__all__ = ["gsm8k_answer", "is_number", "letter", "mbpp_code", "sudoku_answer", "sudoku_cells"]

_OPENING: Final = "\\boxed{"
# Digits in groups of three or not grouped, with a sign, and with decimals or nothing but decimals.
_NUMBER: Final = re.compile(r"[+-]?(?=\.?[0-9])(?:[1-9]\d{0,2}(?:,\d{3})*|\d*)(?:\.\d*)?(?!\d)")
_TOLERANCE: Final = 1e-5
_NUM_CELLS: Final = 16
_TESTED: Final = re.compile(r"assert\s+([a-zA-Z0-9_]+)\s*\(")


def gsm8k_answer(text: str) -> float | None:
    """The last number of the first line's box that has one, else of the text."""
    box = _first_box(text)
    in_box = [] if box is None else _NUMBER.findall(box.replace(",", "").replace("+", "").strip())
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
    answer = answer.split(_OPENING)[-1].split("}")[0].strip()
    answer = answer.split("\n")[-1].strip().split(".")[0]
    return answer.upper() if answer.isalpha() else None


def sudoku_answer(text: str) -> str:
    """A grid in an answer, without blanks, cut or filled up with zeros to 16 characters; empty if there is none."""
    found = (place.strip() for place in sudoku_places(text, is_ended=False))
    grid = re.sub(r"\s", "", next(filter(None, found), ""))
    return grid[:_NUM_CELLS].ljust(_NUM_CELLS, "0") if grid else ""


def sudoku_cells(answer: str, puzzle: str, solution: str) -> tuple[int, int]:
    """How many of a puzzle's empty cells an answer has as the solution has them, and how many are empty."""
    empty = [cell for cell, digit in enumerate(puzzle) if digit == "0"]
    return sum(answer[cell] == solution[cell] for cell in empty) if answer else 0, len(empty)


def mbpp_code(text: str, test: str) -> str:
    """The function that a test calls, from its `def` to the next fence at the left margin.

    An answer without that does not run: it is indented as a body would be, its opening fence included.
    """
    called = _TESTED.search(test)
    text = f"```python\n{text}"
    if called and (start := re.search(rf"def\s+{called.group(1)}\s*\(", text)):
        body = text.find("):\n", start.end())
        end = text.find("\n```", body + 2) if body >= 0 else -1
        if end >= 0:
            return text[start.start() : end].rstrip()
    return textwrap.indent(text, " " * 4)


def _first_box(text: str) -> str | None:
    r"""From the first `\boxed{` that has a brace behind it on its line, up to the last of these."""
    for line in text.split("\n"):
        inside, closed, _ = line.partition(_OPENING)[2].rpartition("}")
        if closed:
            return inside
    return None
