r"""How KLASS (arXiv 2511.05664) grades MATH: candidates of an answer against candidates of the gold solution, as text.

As its released grader does, its oddities included: "is" in a box cuts it (`isosceles` is "osceles"), and any box
of an answer may be the one that is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from lm_eval_codd.grading.answers import braced_fraction
from lm_eval_codd.grading.klass import without_zeros

__all__ = ["candidates"]

# What a question says of the form of its answer.
_SEVERAL: Final = "separated by commas"
_IN_A_FORM: Final = "in the form"

_MARK: Final = "answer is"
_AND: Final = re.compile(r"\\text\{\s*and\s*\}")
_CHOICE: Final = re.compile(r"\(([A-Za-z])\)")
_WORD: Final = re.compile(r"^[A-Za-z']+$")
_DIGIT: Final = re.compile(r"\d")
_INTERVAL: Final = re.compile(r"\(\d+,\d+\)")
_GROUPED: Final = re.compile(r"-?\d{1,3}(?:,\d{3})*(?:\.\d+)?")
_WHOLE: Final = re.compile(r"-?\d+")
_ROOT: Final = re.compile(r"\\sqrt(-?[0-9.a-zA-Z]+)")
_LAST_ROOT: Final = re.compile(r"\\sqrt\s+(\w+)$")
_TANGENT: Final = re.compile(r"\\tan(-?[0-9.a-zA-Z]+)")
_LAST_TANGENT: Final = re.compile(r"\\tan\s+(\w+)$")
# `3.0` is 3, before anything but a digit.
_ZEROS: Final = re.compile(r"(?<=\d)\.0+(\D)")
_LAST_ZEROS: Final = re.compile(r"(?<=\d)\.0+$")
_CENTIMETRES: Final = re.compile(r"\{(c|m)?m\}(\^(2|3))?")
_AFTERNOON: Final = re.compile(r"p\.m\.$")
_TONNES: Final = re.compile(r"(\d)\s*t$")


def candidates(question: str, text: str) -> frozenset[str | frozenset[str]]:
    """What an answer to a question, or its gold solution, may be taken to say; an answer is right if one is shared.

    Where the question asks for values separated by commas, a candidate is a set of them. Fractions of whole numbers
    are there as decimals too. Empty where a text has no box that closes.
    """
    in_a_form, several = _IN_A_FORM in question, _SEVERAL in question
    found = [_normalised(_tidied(answer, in_a_form, several)) for answer in _answers(text)]
    return frozenset(_sets(found) if several else _values(found))


def _sets(found: list[str]) -> Iterator[frozenset[str]]:
    for answer in found:
        values = [value.strip() for value in re.sub(r"[()\[\]]", "", answer).split(",")]
        yield frozenset(values)
        yield frozenset(_decimal(value) or value for value in values)


def _values(found: list[str]) -> Iterator[str]:
    for answer in found:
        for value in _AND.split(answer):
            yield value.strip()
            if (decimal := _decimal(value.strip())) is not None:
                yield decimal


def _answers(text: str) -> list[str]:
    """The boxes of a text; without one what is behind the last "answer is", else the last word with a digit, or all."""
    if "boxed" in text:
        return list(_boxes(text))
    if _MARK in text:
        sentence = text.split(_MARK)[-1].strip().split(".\n")[0].strip().split(". ")[0].strip()
        return sentence.split(" or ")
    return [next((word for word in reversed(text.split()) if _DIGIT.search(word)), text)]


def _boxes(text: str) -> Iterator[str]:
    """What each `boxed{` holds, up to the brace that closes it; that brace too where a `%` follows."""
    for piece in text.split("boxed{")[1:]:
        depth = 0
        for end, letter in enumerate(piece):
            depth += (letter == "{") - (letter == "}")
            if depth < 0:
                yield piece[: end + 1] if piece.startswith("%", end + 1) else piece[:end]
                break


def _tidied(answer: str, in_a_form: bool, several: bool) -> str:
    """An answer without the words, marks and units around it."""
    answer = answer.strip().lstrip(":").rstrip(".").rstrip("/").replace("\\$", "").replace("$", "")
    answer = answer.split("is")[-1].strip()
    answer = _unwrapped(_unwrapped(answer, "\\(", "\\)"), "**", "**").strip("*")
    if choices := _CHOICE.findall(answer):
        answer = choices[-1]
    answer = _without_units(_last_of_words(answer))
    if not in_a_form:
        answer = answer.split("=")[-1].strip()
    if not several and not _INTERVAL.search(answer):
        answer = _GROUPED.sub(lambda number: number.group().replace(",", ""), answer)
    return without_zeros(answer.rstrip("%").rstrip("°").split(" \\in ")[-1].strip())


def _last_of_words(answer: str) -> str:
    """The last word, where all before it are of letters."""
    words = answer.split()
    return words[-1] if len(words) > 1 and all(_WORD.match(word) for word in words[:-1]) else answer


def _without_units(answer: str) -> str:
    """An answer without a unit of one or two words behind a number."""
    words = answer.split()
    if len(words) < 2 or not words[-1].isalpha():
        return answer
    if _DIGIT.search(words[-2]):
        return " ".join(words[:-1])
    return " ".join(words[:-2]) if len(words) > 2 and _DIGIT.search(words[-3]) else answer


def _unwrapped(text: str, opening: str, closing: str) -> str:
    """A text without pairs of marks that are on one line."""
    parts, start = [], 0
    while (left := text.find(opening, start)) >= 0:
        right = text.find(closing, left + len(opening))
        if right < 0:
            break
        line = text.find("\n", left, right)
        if line >= 0:  # nor is there a pair of another mark before the end of the line
            parts.append(text[start:line])
            start = line
        else:
            parts += [text[start:left], text[left + len(opening) : right]]
            start = right + len(closing)
    return "".join([*parts, text[start:]])


def _normalised(text: str) -> str:
    """An answer in the one form that is compared."""
    text = text.strip().replace("\n", "").rstrip(".").replace("\\!", "")
    if text.startswith("\\text{") and text.endswith("}"):
        text = text.removeprefix("\\text{")[:-1]
    for plain in ("tfrac", "dfrac", "cfrac"):
        text = text.replace(plain, "frac")
    text = text.replace("\\left", "").replace("\\right", "")
    text = _without_text(text).replace("^{\\circ}", "").strip().replace("^\\circ", "").strip()
    text = _AFTERNOON.sub("", _CENTIMETRES.sub("", text).strip()).strip()
    text = _TONNES.sub(r"\1", text).strip()
    text = text.replace("\\$", "").replace("$", "").replace("x\\in", "")
    text = text.replace("\\%", "%").replace("\\%", "%")  # twice, as officially
    text = text.replace(" .", " 0.").replace("{.", "{0.").replace("\\cdot", "")
    text = text.replace("infinity", "\\infty")
    if "\\infty" not in text:
        text = text.replace("inf", "\\infty")
    text = text.replace("+\\inity", "\\infty").replace("\\mathbf", "").replace("\\mathrm", "")
    text = _without_mbox(text)
    if "i" not in text:
        text = text.replace("j", "i")
    text = _LAST_ZEROS.sub("", _ZEROS.sub(r"\1", text))
    text = f"0{text}" if text.startswith(".") else text
    text = _LAST_ROOT.sub(r"\\sqrt{\1}", _ROOT.sub(r"\\sqrt{\1}", text))
    text = _LAST_TANGENT.sub(r"\\tan{\1}", _TANGENT.sub(r"\\tan{\1}", text))
    return _slashed_fraction(_braced_fractions(text.replace(" ", ""))).rstrip("\\,.")


def _without_text(text: str) -> str:
    r"""A text up to its first `\text{`, where it ends with a brace and more was before; without blanks around it."""
    before, found, _ = text.partition("\\text{")
    return (before if found and text.endswith("}") else text).strip() or text


def _without_mbox(text: str) -> str:
    r"""A text without what is from a `\mbox{` to the next brace."""
    parts, start = [], 0
    while (left := text.find("\\mbox{", start)) >= 0 and (right := text.find("}", left)) >= 0:
        parts.append(text[start:left])
        start = right + 1
    return "".join([*parts, text[start:]])


def _braced_fractions(text: str) -> str:
    r"""`\fracab` and `\fraca{b}` as `\frac{a}{b}`; all stay where one of them has less than two characters."""
    before, *fractions = text.split("\\frac")
    if any(len(rest) < 2 for rest in fractions if not rest.startswith("{")):
        return text
    return before + "".join(f"\\frac{braced_fraction(rest)}" for rest in fractions)


def _slashed_fraction(text: str) -> str:
    r"""`a/b` of two whole numbers or roots as `\frac{a}{b}`."""
    parts = text.split("/")
    if len(parts) != 2:
        return text
    try:
        above, below = (part if "sqrt" in part else str(int(part)) for part in parts)
    except ValueError:
        return text
    return f"\\frac{{{above}}}{{{below}}}" if text == f"{above}/{below}" else text


def _decimal(text: str) -> str | None:
    """A fraction of two whole numbers as a decimal; None for any other text."""
    if "frac" not in text:
        return None
    text = text.replace("\\dfrac", "").replace("\\frac", "")
    numbers = text.removeprefix("-").strip("{}").split("}{")
    if len(numbers) != 2 or not all(_WHOLE.fullmatch(number) for number in numbers):
        return None
    try:
        value = int(numbers[0]) / int(numbers[1])
    except (ValueError, ArithmeticError):  # too long for an integer, too large for a float, over zero
        return None
    return str(-value if text.startswith("-") else value)
