"""Constraints that several tasks have in common, on lists without a word twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lm_eval_codd.coupling_tasks.words import list_of

if TYPE_CHECKING:
    from lm_eval_codd.coupling_tasks.task import Item

__all__ = ["have_order", "have_words", "only"]


def have_words(answer: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether the answer has each of these words once and no other, in any order."""
    return Counter(answer) == Counter(wanted)


def have_order(answer: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether those words of the answer that are wanted stand in the wanted order; there must be two at least."""
    known = [word for word in answer if word in wanted]
    return len(known) > 1 and known == [word for word in wanted if word in known]


def only(item: Item, text: str) -> Mapping[str, bool] | None:
    """The constraints of a control: the words of the one right list, and their order."""
    answer, right = list_of(text), list_of(item.answer)
    if answer is None or right is None:
        return None
    return {"words": have_words(answer, right), "order": have_order(answer, right)}
