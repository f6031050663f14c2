"""The words that items are made of, and lists of them."""

from __future__ import annotations

import random
from typing import Final

__all__ = ["NAMES", "THINGS", "draw_names", "joined", "list_of"]

_NAMES: Final = """
    Adam Alice Amy Anna Ben Bill Carl Chloe Clara Dan David Diana Emma Eric Eva Felix Frank George Grace Hannah Harry
    Helen Ian Iris Jack James Jane Julia Karen Kate Kevin Laura Leo Lily Lucy Mark Mary Max Nina Noah Nora Oliver Oscar
    Paul Peter Rose Ruth Sam Sarah Simon Sophie Tim Tom Victor
"""
_THINGS: Final = """
    bag ball basket bell bike boat book bottle box brush camera car chair clock coat cup desk doll door drum fan flute
    garden glass guitar hammer hat horse house jar key kite knife ladder lamp map mirror mug pen phone piano picture
    plate radio ring rope shirt spoon table tent ticket towel tree truck watch wheel
"""
NAMES: Final = tuple(_NAMES.split())
THINGS: Final = tuple(_THINGS.split())
_SHORTEST: Final = 4
_LONGEST: Final = 6


def draw_names(rng: random.Random, *, more: int = 0) -> tuple[str, ...]:
    """Four to six different names, and `more` others behind them."""
    return tuple(rng.sample(NAMES, rng.randint(_SHORTEST, _LONGEST) + more))


def joined(words: tuple[str, ...] | list[str]) -> str:
    """A list as it is written: `Anna, Ben, Carl`."""
    return ", ".join(words)


def list_of(text: str) -> list[str] | None:
    """The words between the commas of a line; None where there are fewer than two, or nothing stands between."""
    words = [word.strip() for word in text.split(",")]
    return words if len(words) > 1 and all(words) else None
