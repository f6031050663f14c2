"""A Latin square of 4 x 4: of 576 right ones, each row and each column has every letter once."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Final

from lm_eval_codd.coupling_tasks.task import CoupledTask, Item
from lm_eval_codd.coupling_tasks.words import joined

__all__ = ["TASK"]

_SIDE: Final = 4
# Addition in the two groups of four elements: up to the order of rows, columns and letters there is no other square.
_SQUARES: Final = (
    ((0, 1, 2, 3), (1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2)),
    ((0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0)),
)


def _draw(rng: random.Random) -> Item:
    given = tuple(rng.sample(ascii_uppercase, _SIDE))
    square = rng.choice(_SQUARES)
    rows, columns, letters = (rng.sample(range(_SIDE), _SIDE) for _ in range(3))
    answer = [" ".join(given[letters[square[row][column]]] for column in columns) for row in rows]
    return Item(asked=f"Letters: {joined(given)}", given=given, answer=joined(answer))


def _check(item: Item, text: str) -> Mapping[str, bool] | None:
    rows = [row.split() for row in text.split(",")]
    if [len(row) for row in rows] != [_SIDE] * _SIDE:
        return None
    return {
        "words": {letter for row in rows for letter in row} <= set(item.given),
        "rows": _have_none_twice(rows),
        "columns": _have_none_twice(list(zip(*rows, strict=True))),
    }


def _have_none_twice(lines: Sequence[Sequence[str]]) -> bool:
    return all(len(set(line)) == len(line) for line in lines)


TASK = CoupledTask(
    is_joint=True,
    instruction=(
        "Write any Latin square of the four letters: four rows of four, so that no row and no column has a letter "
        "twice. Put spaces between the letters and commas between the rows."
    ),
    draw=_draw,
    check=_check,
)
