"""A list with the word at a given place replaced: the counterpart of `replace_anywhere`."""

from __future__ import annotations

import random

from lm_eval_codd.coupling_tasks.constraints import only
from lm_eval_codd.coupling_tasks.task import CoupledTask, Item
from lm_eval_codd.coupling_tasks.words import draw_names, joined

__all__ = ["TASK"]


def _draw(rng: random.Random) -> Item:
    *given, new = draw_names(rng, more=1)
    place = rng.randint(1, len(given))
    asked = f"List: {joined(given)}\nNew: {new}\nPlace: {place}"
    return Item(asked=asked, given=tuple(given), new=new, answer=joined([*given[: place - 1], new, *given[place:]]))


TASK = CoupledTask(
    is_joint=False,
    instruction=(
        "Write the list with the name at the given place, counted from 1, replaced by the new one. The others keep "
        "their places."
    ),
    draw=_draw,
    check=only,
)
