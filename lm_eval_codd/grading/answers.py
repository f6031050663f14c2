r"""What several graders of mathematics do alike: find the last box or `<answer>` marks, write out a `\frac12`."""

from __future__ import annotations

from typing import Final

__all__ = ["between_marks", "braced_fraction", "last_box", "slashed_fraction", "unboxed"]

_BOXED: Final = "\\boxed"
_FBOX: Final = "\\fbox"


def last_box(text: str, or_else: str | None) -> str | None:
    """From the last box to the brace that closes it; None where nothing does, `or_else` where there is no box."""
    if f"{_BOXED} " in text:
        return f"{_BOXED} " + text.split(f"{_BOXED} ")[-1].split("$")[0]
    start = text.rfind(_BOXED)
    if start < 0:
        start = text.rfind(_FBOX)
    if start < 0:
        return or_else
    depth = 0
    for end in range(start, len(text)):
        if text[end] == "{":
            depth += 1
        elif text[end] == "}":
            depth -= 1
            if depth == 0:
                return text[start : end + 1]
    return None


def unboxed(box: str) -> str:
    r"""What is in a box of `last_box`; a text that is none, and an `\fbox{}`, as they are."""
    if f"{_BOXED} " in box:
        return box[len(_BOXED) + 1 :]
    opening = f"{_BOXED}{{"
    return box[len(opening) : -1] if box.startswith(opening) and box.endswith("}") else box


def between_marks(text: str) -> str | None:
    """What stands between the first `<answer>` and the `</answer>` behind it, without the blanks around it."""
    between, closed, _ = text.partition("<answer>")[2].partition("</answer>")
    return between.strip() if closed else None


def braced_fraction(rest: str) -> str:
    r"""What follows a `\frac`, with braces: `12` is `{1}{2}`, `1{2}` is `{1}{2}`; less than two characters stay."""
    if len(rest) < 2 or rest[0] == "{":
        return rest
    above, below = rest[0], rest[1]
    return f"{{{above}}}{rest[1:]}" if below == "{" else f"{{{above}}}{{{below}}}{rest[2:]}"


def slashed_fraction(text: str) -> str:
    r"""`a/b` of two whole numbers as `\frac{a}{b}`. Raises `ValueError` where one of the two is none."""
    parts = text.split("/")
    if len(parts) != 2:
        return text
    above, below = (int(part) for part in parts)
    return f"\\frac{{{above}}}{{{below}}}" if text == f"{above}/{below}" else text
