"""Tables of plain text, for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence


def aligned(lines: Sequence[Sequence[str]], *, right: Collection[int] = (), rule: bool = False) -> list[str]:
    """The lines with their cells in columns, without blanks at the end.

    Args:
        lines: of equally many cells; the first is the heading.
        right: numbers of the columns that stand at their right edge, from 0.
        rule: put a line of dashes below the heading.
    """
    widths = widths_of(lines)
    rows = [*lines[:1], *([["-" * width for width in widths]] if rule else []), *lines[1:]]
    return ["  ".join(padded(row, widths, right)).rstrip() for row in rows]


def widths_of(lines: Iterable[Sequence[str]]) -> list[int]:
    """Characters of each column's widest cell."""
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def padded(line: Sequence[str], widths: Sequence[int], right: Collection[int] = ()) -> list[str]:
    """The cells of a line, each as wide as its column."""
    cells = enumerate(zip(line, widths, strict=True))
    return [cell.rjust(width) if number in right else cell.ljust(width) for number, (cell, width) in cells]
