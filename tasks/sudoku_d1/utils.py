"""Sudoku of four by four cells as d1 draws and grades it."""

from __future__ import annotations

from typing import Any, Final

import datasets
import numpy as np

from lm_eval_codd.benchmarks import BenchmarkTask
from lm_eval_codd.grading.d1_puzzles import sudoku_answer, sudoku_share

_DRAWN: Final = 256
_SEED: Final = 42


class SudokuTask(BenchmarkTask):
    """Asks for the rows that d1's evaluation draws, in its order."""

    def documents(self, rows: list[dict[str, Any]]) -> datasets.Dataset:
        """The rows drawn by numpy's older generator, all of them where there are no more."""
        drawn = np.random.RandomState(_SEED).choice(len(rows), min(_DRAWN, len(rows)), replace=False)
        return datasets.Dataset.from_list([rows[row] for row in drawn])


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """The share of the empty cells that are right, and whether there were cells to read."""
    answer = sudoku_answer(results[0])
    share = sudoku_share(answer, doc["Puzzle"], doc["Solution"])
    return {"accuracy": share, "unreadable": float(not answer)}
