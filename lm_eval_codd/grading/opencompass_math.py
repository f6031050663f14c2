r"""How OpenCompass grades MATH: version 2 of its own grader, and math_verify with its settings.

Version 2 brings answer and gold into one form by a long list of replacements, in order, and compares text; in three
ways, of which one is enough. Oddities are kept, for figures have them: `1,\!000` and `1000` are equal, and so are "5
square feet" and "5".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from lm_eval_codd.grading.answers import slashed_fraction

__all__ = ["boxed", "is_equal", "math_answer", "verified"]

_BOXED: Final = "\\boxed"
_FBOX: Final = "\\fbox"
_IN_BRACES: Final = re.compile(r"^\{(.*)\}$")
_SAYS_ANSWER: Final = re.compile("final answer|answer is")

# What a final answer is rid of: first by a replacement, then altogether.
_REPLACED: Final = (
    *(("an ", ""), ("a ", ""), (".$", "$"), ("\\$", ""), ("\\ ", ""), (" ", ""), ("mbox", "text")),
    *((",\\text{and}", ","), ("\\text{and}", ","), ("\\text{m}", "\\text{}"), ("\\le", "<")),
)
_DROPPED: Final = (
    *("square", "ways", "integers", "dollars", "mph", "inches", "ft", "hours", "km", "units", "\\ldots", "sue"),
    *("points", "feet", "minutes", "digits", "cents", "degrees", "cm", "gm", "pounds", "meters", "meals", "edges"),
    *("students", "childrentickets", "multiples", "\\text{s}", "\\text{.}", "\\text{\ns}", "\\text{}^2"),
    *("\\text{}^3", "\\text{\n}", "\\text{}", "\\mathrm{th}", "^\\circ", "^{\\circ}", "\\;", ",\\!", "{,}", '"'),
    *("\\dots", "\n", "\r", "\f"),
)
# Pairs of what stands in front of a text that is kept and behind it, on one line: the first closing one counts.
_WRAPPINGS: Final = (("\\text{(", ")}"), ("\\text{", "}"), ("\\textbf{", "}"), ("\\overline{", "}"))
_BOX: Final = ("\\boxed{", "}")
# Of what stands behind these the last counts, then of what stands in boxes, then between signs of dollars.
_MARKED: Final = tuple(map(re.compile, (r"finalansweris(.*)", r"answer?is:?(.*)")))
_BOXES: Final = ("oxed{", "}")
_DOLLARS: Final = ("$", "$")

# The same for an answer and a gold one that are compared.
_UNIT: Final = "\\text{"
_MBOX: Final = ("\\mbox{", "}")
_ZEROS: Final = ((re.compile(r"(?<=\d)\.0+(\D)"), r"\1"), (re.compile(r"(?<=\d)\.0+$"), ""))
_ROOT: Final = re.compile(r"\\sqrt(\w+)")


def math_answer(text: str) -> str:
    """An answer's last closed box, else its first sentence that names an answer, else its first sentence."""
    inside = boxed(text)
    if inside is not None and (braced := _IN_BRACES.match(inside)):
        inside = braced.group(1)
    if inside:
        return inside
    sentences = text.split(".")
    return _final(next((one for one in sentences if _SAYS_ANSWER.search(one.lower())), sentences[0]))


def boxed(text: str) -> str | None:
    r"""What stands in the last `\boxed{}`; None where there is none, or it is not closed.

    Without any, a last `\fbox{}` is looked at and found to be no such box.
    """
    start = text.rfind(_BOXED)
    start = text.rfind(_FBOX) if start < 0 else start
    if start < 0:
        return None
    depth = 0
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if text[end] == "}" and depth == 0:
            box, opening = text[start : end + 1], f"{_BOXED}{{"
            return box[len(opening) : -1] if box.startswith(opening) else None
    return None


def is_equal(answer: str, gold: str | None) -> bool:
    """Whether the two are one text in a common form, as final answers of that form, or as final answers."""
    if gold is None:
        return False
    ways: tuple[Callable[[str], str], ...] = (_stripped, lambda text: _final(_stripped(text)), _final)
    return answer == gold or any(_alike(answer, gold, way) for way in ways)


def verified(text: str, gold: str | None) -> tuple[bool, bool]:
    """Whether math_verify finds the gold answer in a text, and whether it finds any."""
    from latex2sympy2_extended import NormalizationConfig  # type: ignore[import-untyped]  # it has no stubs
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    form = NormalizationConfig(basic_latex=True, units=True, malformed_operators=False, nits=False)
    latex = LatexExtractionConfig(try_extract_without_anchor=False, boxed_match_priority=0, normalization_config=form)
    wanted = parse(
        f"${gold}$",
        extraction_mode="first_match",
        extraction_config=[LatexExtractionConfig(), ExprExtractionConfig()],
    )
    found = parse(text, extraction_config=[latex], extraction_mode="first_match")
    return bool(wanted) and bool(verify(found, wanted)), bool(found)


def _alike(answer: str, gold: str, way: Callable[[str], str]) -> bool:
    try:
        return way(answer) == way(gold)
    except ValueError:
        return False


def _final(text: str) -> str:
    """A final answer, out of the sentence that it may stand in."""
    for before, after in _REPLACED:
        text = text.replace(before, after)
    for expression in _DROPPED:
        text = text.replace(expression, "")
    for opening, closing in _WRAPPINGS:
        text = "".join(_pieces(text, opening, closing))
    text = _without_box(text)
    for pattern in _MARKED:
        found = pattern.search(text)
        text = found.group(1) if found else text
    for opening, closing in (_BOXES, _DOLLARS):
        inside = _pieces(text, opening, closing)[1::2]
        text = inside[-1] if inside else text
    text = text.strip()
    if "rac" in text and "\\frac" not in text:
        text = text.replace("rac", "\\frac")
    text = re.sub(r"(frac)([^{])(.)", r"frac{\2}{\3}", text)
    text = re.sub(r"(sqrt)([^{])", r"sqrt{\2}", text).replace("$", "")
    digits = text.replace(",", "")
    return digits if digits.isdigit() else text


def _stripped(text: str) -> str:
    """The common form of an answer and a gold one; raises `ValueError` for a slash between what are no numbers."""
    text = text.strip().replace("\n", "").rstrip(".").replace("\\!", "").replace("\\ ", "")
    text = text.replace("\\\\", "\\").replace("\\\\", "\\").replace("tfrac", "frac").replace("dfrac", "frac")
    text = text.replace("\\left", "").replace("\\right", "")
    text = _without_unit(text).strip() or text
    for dropped in ("^{\\circ}", "^\\circ", "\\$", "$", "\\text", "x\\in", "\\%", "%"):
        text = text.replace(dropped, "")
    text = text.replace(" .", " 0.").replace("{.", "{0.").replace("\\cdot", "").replace("infinity", "\\infty")
    text = text if "\\infty" in text else text.replace("inf", "\\infty")
    text = text.replace("+\\inity", "\\infty").replace("and", "").replace("\\mathbf", "")
    text = "".join(_pieces(text, *_MBOX)[::2])
    text = text.replace("j", "i") if "i" not in text else text
    for pattern, kept in _ZEROS:
        text = pattern.sub(kept, text)
    text = f"0{text}" if text.startswith(".") else text
    sides = text.split("=")
    text = sides[1] if len(sides) == 2 and len(sides[0]) <= 2 else text
    return slashed_fraction(_braced(_ROOT.sub(r"\\sqrt{\1}", text).replace(" ", "")))


def _pieces(text: str, opening: str, closing: str) -> list[str]:
    """A line cut at each opening and the first closing behind it: outside, inside, outside ... in linear time."""
    pieces, start = [], 0
    while (left := text.find(opening, start)) >= 0:
        inside = left + len(opening)
        if (right := text.find(closing, inside)) < 0:
            break
        pieces += [text[start:left], text[inside:right]]
        start = right + len(closing)
    return [*pieces, text[start:]]


def _without_box(line: str) -> str:
    """A line without its first box around what goes up to its last brace."""
    opening, closing = _BOX
    before, found, rest = line.partition(opening)
    inside, closed, behind = rest.rpartition(closing)
    return before + inside + behind if found and closed else line


def _without_unit(line: str) -> str:
    """A line up to its first text, where that ends the line."""
    before, found, rest = line.partition(_UNIT)
    return before if found and rest.endswith("}") else line


def _braced(text: str) -> str:
    r"""`\fracab` and `\fraca{b}` as `\frac{a}{b}`; all as it is where one fraction has a single character behind it."""
    before, *fractions = text.split("\\frac")
    if any(len(one) < 2 and one != "{" for one in fractions):
        return text
    return before + "".join(f"\\frac{_fraction(one)}" for one in fractions)


def _fraction(rest: str) -> str:
    if rest[0] == "{":
        return rest
    above, below = rest[0], rest[1]
    return f"{{{above}}}{rest[1:]}" if below == "{" else f"{{{above}}}{{{below}}}{rest[2:]}"
