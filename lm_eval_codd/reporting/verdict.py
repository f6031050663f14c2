"""A check's outcome: comparisons with a reference, corrected for their number, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from lm_eval_codd.reporting.stats import DetectableChange, holm

__all__ = ["NOTHING_TO_COMPARE", "OK", "REGRESSION", "Check", "Comparison", "corrected"]

OK: Final = 0
REGRESSION: Final = 1
NOTHING_TO_COMPARE: Final = 2


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A measured cell (or gain of CoDD over base) against its reference.

    Attributes:
        label: table, system, rule, benchmark and steps.
        measured, reference: the two figures, as text.
        difference: measured less reference, as a share.
        p: of the test; `adjusted`: the same corrected for the number of comparisons.
        detectable: the smallest differences that the test would have called significant.
        marks: what to know about the reference or the run.
        decides: False for references that are suspect themselves.
        is_own: the reference is an own result. Then a rise is a change of behaviour too, not a better paper.
    """

    label: str
    measured: str
    reference: str
    difference: float
    p: float
    detectable: DetectableChange
    adjusted: float = 1.0
    marks: tuple[str, ...] = ()
    decides: bool = True
    is_own: bool = False

    def verdict(self, level: float) -> str:
        """`consistent`, `below` or `above` the reference."""
        if self.adjusted > level:
            return "consistent"
        return "below" if self.difference < 0 else "above"

    def fails(self, level: float) -> bool:
        """Whether it is a regression: below the reference, or either way off an own one."""
        return self.decides and self.verdict(level) in (("below", "above") if self.is_own else ("below",))


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a check found.

    Attributes:
        cells, gains: comparisons; each of the two is corrected for its own number.
        missing: references without a run, as lines.
        refused: runs that cannot be compared, with the reason.
        metrics: what was measured, and how many answers could not be read, a line a benchmark.
        notes: what else to know, such as other hardware.
        gain_test, cell_test: names of the tests used.
    """

    against: str
    level: float
    cells: Sequence[Comparison]
    gains: Sequence[Comparison] = ()
    missing: Sequence[str] = ()
    refused: Sequence[str] = ()
    metrics: Sequence[str] = ()
    notes: Sequence[str] = field(default_factory=tuple)
    cell_test: str
    gain_test: str

    @property
    def failed(self) -> list[Comparison]:
        """The regressions."""
        return [comparison for comparison in (*self.cells, *self.gains) if comparison.fails(self.level)]

    @property
    def exit_status(self) -> int:
        """0, 1 with a regression, 2 when nothing could be compared."""
        if not self.cells:
            return NOTHING_TO_COMPARE
        return REGRESSION if self.failed else OK

    def conclusion(self) -> str:
        """The verdict in a line."""
        if not self.cells:
            return f"nothing to compare with {self.against}"
        count = f"{len(self.cells)} cells and {len(self.gains)} gains of CoDD compared with {self.against}"
        if self.failed:
            return f"REGRESSION: {len(self.failed)} inconsistent at level {self.level:g}; {count}"
        above = sum(c.decides and c.verdict(self.level) == "above" for c in (*self.cells, *self.gains))
        found = f"none below; {above} above" if above else "all consistent"
        suspect = sum(not c.decides and c.verdict(self.level) != "consistent" for c in (*self.cells, *self.gains))
        aside = f" ({suspect} suspect references aside)" if suspect else ""
        return f"OK: {found} at level {self.level:g}{aside}; {count}"


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with their p-values adjusted for their number (Holm)."""
    adjusted = holm([comparison.p for comparison in comparisons])
    return [replace(comparison, adjusted=p) for comparison, p in zip(comparisons, adjusted, strict=True)]
