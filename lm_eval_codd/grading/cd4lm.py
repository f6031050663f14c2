r"""How CD4LM (arXiv 2601.02236) grades: the answer in a box against the gold one, and the program in an answer.

As its released graders do on logged answers, their oddities included: `\sqrt 3` is not `\sqrt{3}`, and in MATH500 an
answer without a box is compared as a whole.
"""

from __future__ import annotations

import re
from typing import Final

from lm_eval_codd.grading.answers import between_marks, braced_fraction, last_box, unboxed
from lm_eval_codd.grading.python_code import sanitize

_TOLERANCE: Final = 1e-6

_DIGITS_OF_A_GROUP: Final = 3
_LIKE_CODE: Final = re.compile(r"(def\s|import\s|from\s|class\s|#|@|\w+\s*=)")
_FUNCTION: Final = re.compile(r"^[^\S\n]*def\s+([a-zA-Z_]\w*)", re.MULTILINE)
_SPECIAL_TOKEN: Final = re.compile(r"<\|[^|]+\|>")
_OPENINGS: Final = ("```python\n", "```\n")
_FENCE: Final = "```"


def gsm8k_answer(text: str) -> str | None:
    """What stands in the last box of an answer, else between `<answer>` marks; None where neither is there."""
    return _answer(text, or_else=None)


def math500_answer(text: str) -> str | None:
    """The same, but an answer that names no box is taken as a whole; None where a box is not closed."""
    return _answer(text, or_else=text)


def gsm8k_is_correct(answer: str | None, target: str) -> bool:
    """Whether an extracted answer and the gold one are the same number or, normalised, the same text."""
    return _is_equal(answer, target, all_percent_signs=True)


def math500_is_correct(answer: str | None, target: str) -> bool:
    r"""The same, where a `%` counts unless it is written `\%`."""
    return _is_equal(answer, target, all_percent_signs=False)


def humaneval_program(prompt: str, entry_point: str, text: str) -> str:
    """The function in an answer, behind HumanEval's prompt: what follows the first opening of Python, up to a fence."""
    code = text.split(_OPENINGS[0], 1)[-1].split(_FENCE)[0]
    return sanitize(f"{prompt}\n{code}", entry_point)


def mbpp_program(text: str) -> str:
    """The program in an answer; its first function is the entry point, and there is no program without one."""
    code = mbpp_code(text)
    entry = _FUNCTION.search(code)
    if entry is None:
        return ""
    return sanitize(code, entry.group(1), needs_return=False, keeps_all_without_entry=True)


def mbpp_code(text: str) -> str:
    """The first fenced block, of Python or without a language, else the text if it starts like code; else empty."""
    for opening in _OPENINGS:
        _, found, rest = text.partition(opening)
        code, closed, _ = rest.partition(_FENCE)
        if found and closed:
            return code.strip()
    text = text.partition("[END]")[0]
    token = _SPECIAL_TOKEN.search(text)
    text = (text if token is None else text[: token.start()]).strip()
    return text if _LIKE_CODE.match(text) else ""


def _answer(text: str, or_else: str | None) -> str | None:
    box = last_box(text, or_else)
    return unboxed(box) if box else between_marks(text)


def _is_equal(answer: str | None, target: str, *, all_percent_signs: bool) -> bool:
    if answer is None:
        return False
    ours, gold = (normalised(text, all_percent_signs=all_percent_signs) for text in (answer, target))
    try:
        if abs(float(ours) - float(gold)) < _TOLERANCE:
            return True
    except ValueError:
        pass
    return ours == gold


def normalised(text: str, *, all_percent_signs: bool) -> str:
    r"""An answer in the one form that is compared.

    Args:
        text: an answer or a target.
        all_percent_signs: drop every `%` and not only `\%`.
    """
    text = _ungrouped(text.strip()).replace("\n", "").replace("\\!", "").replace("\\\\", "\\")
    text = text.replace("tfrac", "frac").replace("dfrac", "frac")
    for dropped in ("\\left", "\\right", "^{\\circ}", "^\\circ", "\\$", "\\%"):
        text = text.replace(dropped, "")
    if all_percent_signs:
        text = text.replace("%", "")
    value, *units = text.split("\\text{ ")
    text = value if len(units) == 1 else text
    text = f"0{text}" if text.startswith(".") else text
    text = text.replace(" .", " 0.")
    sides = text.split("=")
    if len(sides) == 2 and len(sides[0]) <= 2:
        text = sides[1].strip()
    text = _braced_fractions(_braced_roots(text).replace(" ", ""))
    return _slashed_fraction("\\frac{1}{2}" if text == "0.5" else text)


def _ungrouped(text: str) -> str:
    """A text without commas behind a digit and in front of three, other such commas not counted."""
    kept, digits = [], 0
    for number in range(len(text) - 1, -1, -1):
        letter = text[number]
        if letter == "," and digits >= _DIGITS_OF_A_GROUP and text[number - 1 : number].isdecimal():
            continue
        digits = digits + 1 if letter.isdecimal() else 0
        kept.append(letter)
    return "".join(reversed(kept))


def _braced_roots(text: str) -> str:
    r"""`\sqrtx` as `\sqrt{x}`; a blank is such an x."""
    before, *roots = text.split("\\sqrt")
    return before + "".join(
        f"\\sqrt{root}" if not root or root[0] == "{" else f"\\sqrt{{{root[0]}}}{root[1:]}" for root in roots
    )


def _braced_fractions(text: str) -> str:
    r"""`\fracab` and `\fraca{b}` as `\frac{a}{b}`; a fraction of one character stays."""
    before, *fractions = text.split("\\frac")
    return before + "".join(f"\\frac{braced_fraction(fraction)}" for fraction in fractions)


def _slashed_fraction(text: str) -> str:
    r"""`a/b` of two numbers as `\frac{a}{b}`."""
    parts = text.split("/")
    if len(parts) != 2:
        return text
    try:
        float(parts[0]), float(parts[1])
    except ValueError:
        return text
    return f"\\frac{{{parts[0]}}}{{{parts[1]}}}"
