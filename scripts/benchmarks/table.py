"""Measured figures: what a row of the table is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure."""

    name: str
    value: float | str
    unit: str = ""
    goal: str = ""
    note: str = ""


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    for row in rows:
        value = f"{row.value:.4g}" if isinstance(row.value, float) else row.value
        print(f"{row.name:36} {value:>10} {row.unit:4} {row.goal:8} {row.note}")
