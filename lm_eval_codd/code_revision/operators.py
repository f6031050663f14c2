"""Corruption by operators: n tokens of a body's operators become others of as many tokens (spec/decoders.md 5.4).

In the order of the authors' draws, so that their published files come out again.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from lm_eval_codd.code_revision.comments import comment_ranges, is_inside

if TYPE_CHECKING:
    from lm_eval_codd.code_revision.tokens import Tokens

__all__ = ["OPERATORS", "Corruption", "corrupt_operators"]

OPERATORS: Final = ("+", "-", "*", "/", "<", ">", ">=", "<=", "!=", "==", ">>", "<<")
# Tries for each token that is to be replaced.
TRIES: Final = 10


@dataclass(frozen=True)
class Corruption:
    """A corrupted body.

    Attributes:
        body: its text.
        positions: of the replaced tokens, counted in the body's.
        originals: what stood there: a text an operator, or a token of a name or number.
    """

    body: str
    positions: list[int]
    originals: list[str]


class _Place(NamedTuple):
    """An operator: its first token, how many, and the blanks that its tokens have around it."""

    start: int
    length: int
    operator: str
    left: int
    right: int


def corrupt_operators(body: str, n: int, tokens: Tokens, rng: random.Random) -> Corruption | None:
    """Replace operators that are n tokens together; None where the body has not as many, or its tokens would not last.

    Args:
        body: of a function, as text.
        n: tokens to replace, at least 0.
        tokens: the tokenizer.
        rng: drawn from as by the authors; where n is 0 not at all.
    """
    if n == 0:
        return Corruption(body, [], [])
    groups: dict[int, list[str]] = defaultdict(list)
    for operator in OPERATORS:
        groups[len(tokens.ids(operator))].append(operator)
    ids = tokens.ids(body)
    places = _places(body, ids, groups, tokens)
    if not places:
        return None
    rng.shuffle(places)
    positions: list[int] = []
    originals: list[str] = []
    for _ in range(TRIES * n):
        left = n - len(positions)
        fitting = (p for p in places if p.length <= left and positions_of(p.start, p.length).isdisjoint(positions))
        place = next(fitting, None)
        if not left or place is None:
            break
        places.remove(place)
        others = [operator for operator in groups[place.length] if operator != place.operator]
        if not others:
            continue
        new = tokens.ids(" " * place.left + rng.choice(others) + " " * place.right)
        ids[place.start : place.start + place.length] = new[: place.length]
        positions += range(place.start, place.start + place.length)
        originals.append(place.operator)
    if len(positions) != n or not tokens.keeps(ids):
        return None
    return Corruption(tokens.text(ids), positions, originals)


def positions_of(start: int, length: int) -> set[int]:
    """The positions of so many tokens."""
    return set(range(start, start + length))


def _places(body: str, ids: list[int], groups: dict[int, list[str]], tokens: Tokens) -> list[_Place]:
    """Every operator of the body that is in no comment, those of the first group first."""
    comments = comment_ranges(body)
    found = []
    for length, operators in groups.items():
        for start in range(len(ids) - length + 1):
            operator = tokens.text(ids[start : start + length]).strip()
            if operator not in operators or is_inside(len(tokens.text(ids[:start])), comments):
                continue
            first, last = tokens.text(ids[start : start + 1]), tokens.text(ids[start + length - 1 : start + length])
            left, right = len(first) - len(first.lstrip()), len(last) - len(last.rstrip())
            found.append(_Place(start, length, operator, left, right))
    return found
