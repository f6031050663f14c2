"""What a check of published cells found: figures with their intervals, and a verdict for each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lm_eval_codd.atlas.cell import Cell
    from lm_eval_codd.atlas.plan import Planned
    from lm_eval_codd.reporting.atlas_match import Measured
    from lm_eval_codd.reporting.stats import DetectableChange

__all__ = [
    "DIFFERS",
    "IMPLAUSIBLE",
    "NOT_COMPARABLE",
    "NOT_RUN",
    "REPRODUCED",
    "VERDICTS",
    "AtlasCheck",
    "Judged",
    "Reading",
]

REPRODUCED: Final = "reproduced"
DIFFERS: Final = "differs"
NOT_COMPARABLE: Final = "not comparable"
IMPLAUSIBLE: Final = "implausible"
NOT_RUN: Final = "not run"
VERDICTS: Final = (REPRODUCED, DIFFERS, NOT_COMPARABLE, IMPLAUSIBLE, NOT_RUN)


@dataclass(frozen=True)
class Reading:
    """A figure of a run that may be the published one, with its interval, in the cell's unit.

    Attributes:
        metric: "metric,filter".
        value: measured.
        counts: right answers of all answers; None where it is no such share.
        low, high: the interval; both the value where nothing is known of its error.
        seen: the smallest differences from the published figure that would have been outside of the interval.
    """

    metric: str
    value: float
    counts: tuple[int, int] | None
    low: float
    high: float
    seen: DetectableChange

    def holds(self, cell: Cell) -> bool:
        """Whether the interval holds the published figure."""
        low, high = cell.bounds
        return self.low <= high and self.high >= low

    def __str__(self) -> str:
        of = "" if self.counts is None else " ({}/{})".format(*self.counts)
        return f"{self.value:.2f}{of} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Judged:
    """A cell with its verdict.

    Attributes:
        planned: the cell and its run.
        verdict: one of `VERDICTS`.
        reasons: why, where the figures alone do not say it.
        readings: what was measured, one for each figure that may be the cell's; the nearest first.
        measured: where it was measured; None where nothing was.
        assumed: what was assumed for the run.
    """

    planned: Planned
    verdict: str
    reasons: tuple[str, ...] = ()
    readings: tuple[Reading, ...] = ()
    measured: Measured | None = None
    assumed: Mapping[str, str] = field(default_factory=dict)

    @property
    def cell(self) -> Cell:
        """What was published."""
        return self.planned.cell

    @property
    def difference(self) -> float | None:
        """The nearest figure less the published one, in the cell's unit."""
        return self.readings[0].value - self.cell.value if self.readings else None

    @property
    def unverified(self) -> tuple[str, ...]:
        """What of the task it was measured with was not held against the source's code, a line each."""
        return (f"unverified: {self.planned.unverified}",) if self.readings and self.planned.unverified else ()

    @property
    def others(self) -> tuple[str, ...]:
        """What others measured, a line each."""
        return tuple(f"{one}{f' ({one.differs})' if one.differs else ''}" for one in self.cell.reproduces)

    @property
    def fails(self) -> bool:
        """Whether it was measured and is not reproduced; a suspect figure never decides."""
        return self.verdict == DIFFERS and not self.cell.is_suspect


@dataclass(frozen=True)
class AtlasCheck:
    """Verdicts of a source's cells.

    Attributes:
        against: the source, as asked for.
        level: of all intervals together: each leaves out `level / num_compared`.
        cells: every cell.
        notes: what else to know.
    """

    against: str
    level: float
    cells: Sequence[Judged]
    notes: Sequence[str] = ()

    @cached_property
    def counts(self) -> dict[str, int]:
        """Cells by verdict."""
        return {verdict: sum(one.verdict == verdict for one in self.cells) for verdict in VERDICTS}

    @property
    def exit_status(self) -> int:
        """0; 1 where a figure differs, 2 where nothing could be compared."""
        if not self.counts[REPRODUCED] + self.counts[DIFFERS]:
            return 2
        return int(any(one.fails for one in self.cells))

    def conclusion(self) -> str:
        """The verdict in a line."""
        told = ", ".join(f"{count} {verdict}" for verdict, count in self.counts.items() if count)
        if self.exit_status == 2:
            return f"nothing to compare with {self.against}: {told}"
        word = "DIFFERS" if self.exit_status else "OK"
        return f"{word}: {told}, of {len(self.cells)} cells of {self.against}, at level {self.level:g}"
