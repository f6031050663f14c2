"""What a demo is, and how its tables write an accuracy and a difference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lm_eval_codd.reporting.table import paired

if TYPE_CHECKING:
    from lm_eval_codd.reporting.cells import Cell, Group
    from lm_eval_codd.reporting.pairs import Pair
    from lm_eval_codd.reporting.table import Table

__all__ = ["REFERENCES", "Demo", "difference", "difference_text", "percent"]

REFERENCES: Final = Path(__file__).resolve().parents[2] / "results" / "demo"


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A sweep that needs no download, and what is said at its end.

    Attributes:
        title: of its page.
        points: the sweeps, in the words of `--sweep`.
        reference: the file that its results are checked against.
        tables: what it prints last, from the group of its runs.
        beside: what it prints before them, from all groups: the fullest is that of `tables`.
        example: a decode to look at: the model arguments and the prompt of `trace`.
        explanation: what may surprise in the figures, said where they agree with the reference.
    """

    title: str
    points: Callable[[], Sequence[str]]
    reference: Path
    tables: Callable[[Group], list[Table]]
    example: tuple[str, str]
    explanation: str
    beside: Callable[[Sequence[Group]], list[Table]] = lambda groups: []


def percent(cell: Cell | None) -> str:
    """`92.7`, or `-` without a run."""
    return "-" if cell is None or cell.run is None else f"{100 * cell.run.score_of_task:.1f}"


def difference(first: Cell | None, second: Cell | None) -> str:
    """Of two cells on the same items, as `difference_text`; `-` where they are no pair."""
    pair = "no pair" if first is None or second is None else paired(first, second)
    return "-" if isinstance(pair, str) else difference_text(pair)


def difference_text(pair: Pair) -> str:
    """`+17.7 (< 0.0001)`: points, and the p-value to one digit."""
    return f"{100 * pair.difference:+.1f} ({'< 0.0001' if pair.p < 1e-4 else f'{pair.p:.1g}'})"
