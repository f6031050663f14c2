"""MATH-500 as d1 grades it."""

from __future__ import annotations

from typing import Any

from lm_eval_codd.grading.d1 import math500_answer, math500_is_correct


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the answer is the gold one, and whether there was one: an answer without a box is read as a whole."""
    answer = math500_answer(results[0])
    return {"accuracy": float(math500_is_correct(answer, doc["answer"])), "unreadable": float(answer is None)}
