"""A list in alphabetical order."""

from __future__ import annotations

import random

from lm_eval_codd.coupling_tasks.constraints import only
from lm_eval_codd.coupling_tasks.task import CoupledTask, Item
from lm_eval_codd.coupling_tasks.words import draw_names, joined

__all__ = ["TASK"]


def _draw(rng: random.Random) -> Item:
    given = draw_names(rng)
    return Item(asked=f"List: {joined(given)}", given=given, answer=joined(sorted(given)))


TASK = CoupledTask(
    is_joint=False,
    instruction="Write the names of the list in alphabetical order.",
    draw=_draw,
    check=only,
)
