"""What a task of dependent tokens is: items that can be drawn without end, and the constraints on an answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["CoupledTask", "Item"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question.

    Attributes:
        asked: its lines of the prompt; two items are the same where these are.
        given: the words that it is about, in their order.
        new: a word to put among them; empty where there is none.
        answer: a right answer; of a control the only one.
    """

    asked: str
    given: tuple[str, ...]
    new: str = ""
    answer: str


@dataclass(frozen=True, kw_only=True)
class CoupledTask:
    """A kind of question.

    Attributes:
        is_joint: several answers are right, so that the words of an answer depend on each other beyond what the
            question says; else it is a control with one right answer.
        instruction: the first line of its prompt.
        draw: an item; the same state of the generator gives the same one.
        check: which constraints a line of text meets as the answer, by name; all are met by a right answer and only
            by one. None where the line cannot be read as an answer.
    """

    is_joint: bool
    instruction: str
    draw: Callable[[random.Random], Item]
    check: Callable[[Item, str], Mapping[str, bool] | None]
