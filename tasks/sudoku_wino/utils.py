"""Sudoku of 4 x 4 as WINO grades it: the share of all empty cells that are filled as in the solution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lm_eval_codd.grading.wino import sudoku_answer, sudoku_cells


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """How many empty cells there are and how many are right, and whether there was a grid to read."""
    answer = sudoku_answer(results[0])
    cells = sudoku_cells(answer, doc["Puzzle"], doc["Solution"])
    return {"cell_accuracy": cells, "cell_accuracy_stderr": cells, "unreadable": float(not answer)}


def share(cells: Sequence[tuple[int, int]]) -> float:
    """Right cells of all empty ones, over all puzzles."""
    right, empty = (sum(numbers) for numbers in zip(*cells, strict=True))
    return right / empty if empty else 0.0


def share_stderr(cells: Sequence[tuple[int, int]]) -> float:
    """The standard error of `share`, a ratio of two sums over puzzles, whose cells go together."""
    ratio, num_puzzles = share(cells), len(cells)
    squares = sum((right - ratio * empty) ** 2 for right, empty in cells)
    total = sum(empty for _, empty in cells)
    if num_puzzles < 2 or not total:
        return math.nan
    return math.sqrt(squares * num_puzzles / (num_puzzles - 1)) / total
