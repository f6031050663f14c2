"""A list with a new word at a given place: the counterpart of `insert_anywhere`."""

from __future__ import annotations

import random

from lm_eval_codd.coupling_tasks.constraints import only
from lm_eval_codd.coupling_tasks.task import CoupledTask, Item
from lm_eval_codd.coupling_tasks.words import draw_names, joined

__all__ = ["TASK"]


def _draw(rng: random.Random) -> Item:
    *given, new = draw_names(rng, more=1)
    place = rng.randint(1, len(given) + 1)
    asked = f"List: {joined(given)}\nNew: {new}\nPlace: {place}"
    return Item(
        asked=asked, given=tuple(given), new=new, answer=joined([*given[: place - 1], new, *given[place - 1 :]])
    )


TASK = CoupledTask(
    is_joint=False,
    instruction=(
        "Write the list with the new name added so that it stands at the given place, counted from 1. The "
        "others keep their order."
    ),
    draw=_draw,
    check=only,
)
