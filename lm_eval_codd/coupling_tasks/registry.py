"""All tasks of dependent tokens by name; a new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from lm_eval_codd.coupling_tasks import (
    copying,
    insert_anywhere,
    insert_at,
    latin_square,
    phrasing,
    replace_anywhere,
    replace_at,
    reversing,
    shuffle,
    sorting,
)

if TYPE_CHECKING:
    from lm_eval_codd.coupling_tasks.task import CoupledTask

__all__ = ["COUPLED_TASKS"]

COUPLED_TASKS: Final[Mapping[str, CoupledTask]] = {
    "shuffle": shuffle.TASK,
    "insert_anywhere": insert_anywhere.TASK,
    "replace_anywhere": replace_anywhere.TASK,
    "latin_square": latin_square.TASK,
    "phrasing": phrasing.TASK,
    "copy": copying.TASK,
    "sort": sorting.TASK,
    "reverse": reversing.TASK,
    "insert_at": insert_at.TASK,
    "replace_at": replace_at.TASK,
}
