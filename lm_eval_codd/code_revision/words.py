"""Corruption by names (`var`) or numbers (`literal`): tokens of one become those of another (spec/decoders.md 5.4).

The authors went through a Python set, so their published files depend on a hash seed and cannot be made again. Here the
texts are sorted: what comes out is a new sample of the same kind, and says so.
"""

from __future__ import annotations

import keyword
import random
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from lm_eval_codd.code_revision.comments import comment_ranges, is_inside
from lm_eval_codd.code_revision.operators import TRIES, Corruption, positions_of

if TYPE_CHECKING:
    from lm_eval_codd.code_revision.tokens import Tokens

__all__ = ["PATTERNS", "corrupt_words"]

PATTERNS: Final[Mapping[str, re.Pattern[str]]] = {
    "var": re.compile(r"\b[a-zA-Z_][a-zA-Z0-9_]*\b"),
    "literal": re.compile(r"\b\d+(\.\d+)?\b"),
}


def corrupt_words(body: str, n: int, kind: str, tokens: Tokens, rng: random.Random) -> Corruption | None:
    """Replace names or numbers that are n tokens together; None where that cannot be, or the tokens would not last.

    A text is replaced wherever its tokens stand, in comments and strings too, as by the authors.

    Args:
        body: of a function, as text.
        n: tokens to replace, at least 0.
        kind: `var` or `literal`.
        tokens: the tokenizer.
        rng: drawn from as by the authors.
    """
    if n == 0:
        return Corruption(body, [], [])
    comments = comment_ranges(body)
    groups: dict[int, list[str]] = defaultdict(list)
    for text in distinct(body, kind):
        groups[len(tokens.ids(text))].append(text)
    code, ids = body, tokens.ids(body)
    positions: list[int] = []
    originals: list[str] = []
    used: set[tuple[str, str]] = set()
    for _ in range(TRIES * n):
        lengths = {length for length in groups if length <= n - len(positions)}
        matches = [match for match in PATTERNS[kind].finditer(code) if not is_inside(match.start(), comments)]
        targets = [text for match in matches if _counts(text := match[0], kind) and len(tokens.ids(text)) in lengths]
        if not targets:
            break
        target = rng.choice(targets)
        old = tokens.ids(target)
        others = [text for text in groups[len(old)] if text != target and (target, text) not in used]
        if not others:
            continue
        new = rng.choice(others)
        places = [
            start
            for start in range(len(ids) - len(old) + 1)
            if ids[start : start + len(old)] == old and positions_of(start, len(old)).isdisjoint(positions)
        ]
        if not places:
            continue
        start = rng.choice(places)
        changed = [*ids[:start], *tokens.ids(new), *ids[start + len(old) :]]
        text = tokens.text(changed)
        if text == code:
            continue
        code, ids = text, changed
        used.add((target, new))
        positions += range(start, start + len(old))
        originals += [tokens.text([one]) for one in old]
    if len(positions) != n or not tokens.keeps(ids):
        return None
    return Corruption(code, positions, originals)


def distinct(body: str, kind: str) -> list[str]:
    """The names or numbers of a body, each once and sorted."""
    return sorted({text for match in PATTERNS[kind].finditer(body) if _counts(text := match[0], kind)})


def _counts(text: str, kind: str) -> bool:
    return kind != "var" or not keyword.iskeyword(text)
