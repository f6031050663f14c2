"""Figures of the benchmark: its metrics by their published names, and the cells that a published mean is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from lm_eval_codd.code_revision.cells import CELLS, DATASETS, Cell

__all__ = ["FILTER", "METRICS", "SCOPES", "Scope"]

# Metrics of the task by what they are called here, and the filter that they have.
METRICS: Final[Mapping[str, str]] = {
    **{f"T={rounds}": f"pass_at_1_t{rounds}" for rounds in range(1, 5)},
    "gap": "confidence_gap",
    **{f"hit@{number}": f"hit_at_{number}" for number in (1, 3, 5)},
}
FILTER: Final = "run"


class Scope(NamedTuple):
    """Cells whose mean is a figure: the headline is that of one corrupted token."""

    title: str
    has: Callable[[Cell], bool]

    @property
    def cells(self) -> list[Cell]:
        """All of its cells."""
        return [cell for cell in CELLS if self.has(cell)]


def _of_dataset(name: str) -> Scope:
    return Scope(f"{name}, all n", lambda cell: cell.dataset == name)


SCOPES: Final = (
    Scope("n=1", lambda cell: cell.number == 1),
    Scope("all n", lambda cell: True),
    *map(_of_dataset, DATASETS),
)
