"""Where the comments of a piece of Python are: operators in them are no operators."""

from __future__ import annotations

import io
import tokenize
from contextlib import suppress
from itertools import accumulate

__all__ = ["comment_ranges", "is_inside"]


def comment_ranges(code: str) -> list[tuple[int, int]]:
    """[start, end) of each comment, in characters; of code that is no whole Python, those before the first error."""
    starts = list(accumulate((len(line) + 1 for line in code.split("\n")), initial=0))
    found = []
    with suppress(tokenize.TokenError, SyntaxError):
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type == tokenize.COMMENT:
                (row, column), (last_row, last_column) = token.start, token.end
                found.append((starts[row - 1] + column, starts[last_row - 1] + last_column))
    return found


def is_inside(place: int, ranges: list[tuple[int, int]]) -> bool:
    """Whether a place in the text is in one of the ranges."""
    return any(start <= place < end for start, end in ranges)
