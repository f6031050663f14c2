"""How OpenCompass reads answers, as LLaDA's evaluation code runs it; their oddities are kept, for figures have them."""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Mapping
from typing import Final

_QUESTION: Final = "Question:"
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")
_STATED: Final = re.compile(r"the answer is[:\s]*(-?\d+(?:\.\d+)?)", re.IGNORECASE)
_TOLERANCE: Final = 1e-6

_LETTER: Final = re.compile(r"the correct answer is \(", re.IGNORECASE)

_FENCE: Final = "```"
# Where MBPP's program is, in this order: from the first of an opening to the last of a closing behind it.
_END: Final = r"\Z"
_PROGRAMS: Final = tuple(
    (re.compile(opening), re.compile(closing))
    for opening, closing in (
        *((rf"{begin}\s*'", rf"'\s*{done}") for done in (r"\[DONE\]", "DONE") for begin in (r"\[BEGIN\]", "BEGIN")),
        *((rf"{begin}\s*'", done) for done in (r"\[DONE\]", "DONE") for begin in (r"\[BEGIN\]", "BEGIN")),
        *((rf"{begin}\s*", done) for done in (r"\[DONE\]", "DONE") for begin in (r"\[BEGIN\]", "BEGIN")),
        *((rf"{opening}\s*", closing) for closing in ("```(?!`)", _END) for opening in ("```python", "```")),
        *((r"\[BEGIN\]\s*'", _END), (r"\[BEGIN\]", _END), ("'", r"'\s*\[DONE\]")),
    )
)
_BRACKETED: Final = re.compile(r"\(([A-Z])\)*")
_CAPITAL: Final = re.compile(r"[A-Z]")
_BOLD: Final = re.compile(r"\*\*(.*?)\*\*")


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


def stated_letter(text: str) -> str | None:
    """What stands in the first "The correct answer is (X)", a letter or not; None where there is no such text."""
    for stated in _LETTER.finditer(text):
        end = text.find(")", stated.end())
        if end < 0:
            break
        if end > stated.end():
            return text[stated.end() : end].strip()
    return None


def filled_in(values: Mapping[str, str]) -> dict[str, str]:
    """Values as they stand in a prompt, where each is put in the place of `{name}`, in their order.

    A value is filled in too where it is not the last one: `{A}` in a question, as LaTeX has it, becomes choice A.
    """
    shown = dict(values)
    names = list(values)
    for number, name in enumerate(names):
        for later in names[number + 1 :]:
            shown[name] = shown[name].replace(f"{{{later}}}", values[later])
    return shown


def mbpp_program(text: str) -> str:
    """The program between the marks that MBPP's examples have, or in a fence; else all of the text.

    The first form that is found anywhere counts, not the first place.
    """
    program = next((found for form in _PROGRAMS if (found := _between(text, *form)) is not None), text)
    before, done, _ = program.split(_FENCE)[0].partition("DONE")
    program = before.removesuffix("[").rstrip().removesuffix("'") if done else before
    return program.replace("\\_", "_").strip().removeprefix("'").removesuffix("'")


def continued_body(text: str) -> str:
    """The lines of a text that go on with a function: up to two empty lines, a fence, or code at the left margin."""
    if text.startswith("   ") and not text.startswith("    "):
        text = f" {text}"
    lines = text.split("\n\n\n")[0].split(f"\n{_FENCE}")[0].split("\n")
    return "\n".join(itertools.takewhile(lambda line: not line or line[0] == " ", lines))


def bbh_choice(text: str) -> str:
    """The capital behind the first bracket with one behind it, closed or not, else the first; else what stands there.

    Of what follows the first "answer is ", where there is such a text.
    """
    answer = _behind_answer(text)
    if bracketed := _BRACKETED.search(answer):
        return bracketed.group(1)
    capital = _CAPITAL.search(answer)
    return answer if capital is None else capital.group(0)


def bbh_text(text: str) -> str:
    """The line behind the first "answer is ", without its full stop; of a line with bold text that alone."""
    line = _behind_answer(text).split("\n")[0].strip()
    line = line[:-1].strip() if line.endswith(".") else line
    bold = _BOLD.search(line)
    return line if bold is None else bold.group(1)


def _behind_answer(text: str) -> str:
    before, *behind = text.split("answer is ")
    return behind[0].strip() if behind else before


def _between(text: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> str | None:
    """What is between the first of an opening and the last of a closing behind it, in time that grows as the text."""
    opened = opening.search(text)
    closed = None if opened is None else next(iter(deque(closing.finditer(text, opened.end()), maxlen=1)), None)
    return None if opened is None or closed is None else text[opened.end() : closed.start()]
