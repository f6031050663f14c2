"""A list as it is: the control without any rule."""

from __future__ import annotations

import random

from lm_eval_codd.coupling_tasks.constraints import only
from lm_eval_codd.coupling_tasks.task import CoupledTask, Item
from lm_eval_codd.coupling_tasks.words import draw_names, joined

__all__ = ["TASK"]


def _draw(rng: random.Random) -> Item:
    given = draw_names(rng)
    return Item(asked=f"List: {joined(given)}", given=given, answer=joined(given))


TASK = CoupledTask(
    is_joint=False,
    instruction="Write the list again as it is.",
    draw=_draw,
    check=only,
)
