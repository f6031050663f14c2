"""A list with a new word at any place: what stands at each place depends on where the word went."""

from __future__ import annotations

import random
from collections.abc import Mapping

from lm_eval_codd.coupling_tasks.constraints import have_order, have_words
from lm_eval_codd.coupling_tasks.task import CoupledTask, Item
from lm_eval_codd.coupling_tasks.words import draw_names, joined, list_of

__all__ = ["TASK"]


def _draw(rng: random.Random) -> Item:
    *given, new = draw_names(rng, more=1)
    place = rng.randint(0, len(given))
    answer = [*given[:place], new, *given[place:]]
    return Item(asked=f"List: {joined(given)}\nNew: {new}", given=tuple(given), new=new, answer=joined(answer))


def _check(item: Item, text: str) -> Mapping[str, bool] | None:
    answer = list_of(text)
    if answer is None:
        return None
    return {"words": have_words(answer, (*item.given, item.new)), "order": have_order(answer, item.given)}


TASK = CoupledTask(
    is_joint=True,
    instruction="Write the list with the new name added at any place. The others keep their order.",
    draw=_draw,
    check=_check,
)
