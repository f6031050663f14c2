"""A list in another order: every place may have nearly every word, none may come twice."""

from __future__ import annotations

import random
from collections.abc import Mapping

from lm_eval_codd.coupling_tasks.constraints import have_words
from lm_eval_codd.coupling_tasks.task import CoupledTask, Item
from lm_eval_codd.coupling_tasks.words import draw_names, joined, list_of

__all__ = ["TASK"]


def _draw(rng: random.Random) -> Item:
    given = draw_names(rng)
    answer = given
    while answer == given:
        answer = tuple(rng.sample(given, len(given)))
    return Item(asked=f"List: {joined(given)}", given=given, answer=joined(answer))


def _check(item: Item, text: str) -> Mapping[str, bool] | None:
    answer = list_of(text)
    if answer is None:
        return None
    known = [word for word in answer if word in item.given]
    is_other = len(known) > 1 and known != [word for word in item.given if word in known]
    return {"words": have_words(answer, item.given), "order": is_other}


TASK = CoupledTask(
    is_joint=True,
    instruction="Write the names of the list in any other order, each of them once.",
    draw=_draw,
    check=_check,
)
