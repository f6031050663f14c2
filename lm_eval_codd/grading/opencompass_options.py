"""How OpenCompass finds the letter that an answer to a multiple-choice question chooses.

Its forms of stating one are tried in order, Chinese ones first, anywhere in the text; the first that is found and holds
a letter counts. So "A" alone, "A. because", "The answer is A" and, at last, any capital A are choices of A.
"""

# ruff: noqa: RUF001  # full-width punctuation is meant

from __future__ import annotations

import functools
import re
from typing import Final

__all__ = ["first_option"]

# X: any of the letters.
_FORMS: Final = (
    *(
        r"答案是?\s*(X)",
        r"答案是?\s*：\s*(X)",
        r"答案是?\s*:\s*(X)",
        r"答案选项应?该?是\s*(X)",
        r"答案选项应?该?为\s*(X)",
    ),
    *(r"答案应该?是\s*(X)", r"答案应该?选\s*(X)", r"答案选项为?\s*：\s*(X)", r"答案选项为?\s+\(?\*?\*?(X)\*?\*?\)?"),
    *(r"答案选项是?\s*:\s*(X)", r"答案为\s*(X)", r"答案选\s*(X)", r"选择?\s*(X)"),
    # Two forms in one: a comma is missing between them there.
    r"故选?\s*(X)只有选?项?\s?(X)\s?是?对",
    *(r"只有选?项?\s?(X)\s?是?错", r"只有选?项?\s?(X)\s?不?正确", r"只有选?项?\s?(X)\s?错误"),
    *(r"说法不?对选?项?的?是\s?(X)", r"说法不?正确选?项?的?是\s?(X)", r"说法错误选?项?的?是\s?(X)"),
    *(r"(X)\s?是正确的", r"(X)\s?是正确答案", r"选项\s?(X)\s?正确", r"所以答\s?(X)"),
    *(r"所以\s?(X[.。$]?$)", r"所有\s?(X[.。$]?$)", r"[\s，：:,](X)[。，,\.]?$", r"[\s，,：:][故即](X)[。\.]?$"),
    *(r"[\s，,：:]因此(X)[。\.]?$", r"[是为。]\s?(X)[。\.]?$", r"因此\s?(X)[。\.]?$", r"显然\s?(X)[。\.]?$"),
    *(r"答案是\s?(\S+)(?:。|$)", r"答案应该是\s?(\S+)(?:。|$)", r"答案为\s?(\S+)(?:。|$)"),
    *(r"(?i:ANSWER)\s*:\s*((?i:X))", r"[Tt]he answer is:?\s+\(?(X)\)?", r"[Tt]he answer is:?\s+\(?\*?\*?(X)\*?\*?\)?"),
    *(r"[Tt]he answer is option:?\s+\(?(X)\)?", r"[Tt]he correct answer is:?\s+\(?(X)\)?"),
    *(r"[Tt]he correct answer is option:?\s+\(?(X)\)?", r"[Tt]he correct answer is:?.*?boxed{(X)}"),
    *(r"[Tt]he correct option is:?.*?boxed{(X)}", r"[Tt]he correct answer option is:?.*?boxed{(X)}"),
    *(r"[Tt]he answer to the question is:?\s+\(?(X)\)?", r"^选项\s?(X)", r"^(X)\s?选?项"),
    *(r"(\s|^)X[\s。，,：:\.$]", r"1.\s?(.*?)$", r"1.\s?(X)[.。$]?$", r"(X):", r"(X)"),
)

_A_WORD: Final = r"(\S+)(?:。|$)"
_WORD: Final = re.compile(r"\S+")
_FULL_STOP: Final = "。"
_A_BOX: Final = r".*?boxed{"
_ANYTHING: Final = ".*?"


def first_option(text: str, letters: str) -> str | None:
    """The letter that an answer chooses; None where there is none of them.

    Args:
        text: of the answer.
        letters: of the choices, such as "ABCD".
    """
    text = text.strip()
    for form in _compiled(letters):
        if (stated := _stated(form, text)) and (letter := next((one for one in letters if one in stated), None)):
            return letter
    return None


def _stated(form: tuple[re.Pattern[str], ...], text: str) -> str | None:
    """What the first place of a form states; None where it has none."""
    first, *rest = form
    if rest == [_WORD]:
        return _word_behind(first, text)
    found = first.search(text)
    for part in rest:
        found = found and part.search(text, found.end())
    return None if found is None else found.group(1) or found.group(0)


def _word_behind(opening: re.Pattern[str], text: str) -> str | None:
    """The word behind the first opening that has one which ends a sentence or the text, up to its last full stop."""
    word = stop = None
    for opened in opening.finditer(text):
        start = opened.end()
        if word is None or start >= word.end():  # one word may hold many openings
            word = _WORD.match(text, start)
            stop = -1 if word is None else text.rfind(_FULL_STOP, start, word.end())
        if word is None:
            continue
        if word.end() == len(text):
            return text[start:]
        if stop is not None and stop > start:
            return text[start:stop]
    return None


@functools.cache
def _compiled(letters: str) -> tuple[tuple[re.Pattern[str], ...], ...]:
    """Forms in parts, each of which stands anywhere behind the one before it; `_WORD` stands at once behind it."""
    return tuple(
        tuple(_WORD if part == _A_WORD else re.compile(part.replace("X", f"[{letters}]"), re.DOTALL) for part in parts)
        for parts in map(_parts, _FORMS)
    )


def _parts(form: str) -> list[str]:
    """A form as parts that are found one behind another, so that no text takes longer than its length demands."""
    if form.endswith(_A_WORD):
        return [form.removesuffix(_A_WORD), _A_WORD]
    return form.split(_ANYTHING) if _A_BOX in form else [form]
