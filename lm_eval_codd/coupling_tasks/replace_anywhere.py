"""A list with any one word replaced by a new one: each place may have it, and only one of them."""

from __future__ import annotations

import random
from collections.abc import Mapping

from lm_eval_codd.coupling_tasks.constraints import have_words
from lm_eval_codd.coupling_tasks.task import CoupledTask, Item
from lm_eval_codd.coupling_tasks.words import draw_names, joined, list_of

__all__ = ["TASK"]


def _draw(rng: random.Random) -> Item:
    *given, new = draw_names(rng, more=1)
    place = rng.randrange(len(given))
    answer = [*given[:place], new, *given[place + 1 :]]
    return Item(asked=f"List: {joined(given)}\nNew: {new}", given=tuple(given), new=new, answer=joined(answer))


def _check(item: Item, text: str) -> Mapping[str, bool] | None:
    answer = list_of(text)
    if answer is None:
        return None
    places = {word: place for place, word in enumerate(item.given)}
    kept = [(place, word) for place, word in enumerate(answer) if word in places]
    return {
        "words": any(
            have_words(answer, (*item.given[:gone], item.new, *item.given[gone + 1 :])) for gone in places.values()
        ),
        "order": len(kept) > 1 and all(place == places[word] for place, word in kept),
    }


TASK = CoupledTask(
    is_joint=True,
    instruction="Write the list with any one of its names replaced by the new one. The others keep their places.",
    draw=_draw,
    check=_check,
)
