"""A fact in any of four ways: of as many words each, so that hardly a place has one word of its own."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Final

from lm_eval_codd.coupling_tasks.task import CoupledTask, Item
from lm_eval_codd.coupling_tasks.words import NAMES, THINGS

__all__ = ["FORMS", "TASK"]

FORMS: Final = (
    "{name} is the owner of the {thing}.",
    "The owner of the {thing} is {name}.",
    "The {thing} is owned by {name} now.",
    "It is {name} who owns the {thing}.",
)
_ANY: Final = {"name": f"({'|'.join(NAMES)})", "thing": f"({'|'.join(THINGS)})"}
_FORM: Final = re.compile("|".join(form.replace(".", r"\.").format(**_ANY) for form in FORMS))


def _draw(rng: random.Random) -> Item:
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    answer = rng.choice(FORMS).format(name=name, thing=thing)
    return Item(asked=f"Who: {name}\nWhat: {thing}", given=(name, thing), answer=answer)


def _check(item: Item, text: str) -> Mapping[str, bool] | None:
    words = re.findall(r"\w+", text)
    if not words:
        return None
    named = sorted(word for word in words if word in NAMES or word in THINGS)
    return {"words": named == sorted(item.given), "form": _FORM.fullmatch(text) is not None}


TASK = CoupledTask(
    is_joint=True,
    instruction=(
        "Say who owns what, in any one of these four ways: "
        + " ".join(f'"{form.format(name="WHO", thing="WHAT")}"' for form in FORMS)
    ),
    draw=_draw,
    check=_check,
)
