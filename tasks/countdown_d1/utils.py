"""Countdown as d1 grades it."""

from __future__ import annotations

from typing import Any

from lm_eval_codd.grading.d1_puzzles import countdown_expression, countdown_is_correct, is_arithmetic


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the answer's expression has each number once and comes to the target, and whether it is one."""
    expression = countdown_expression(results[0])
    numbers = [int(number) for number in doc["input"].split(",")]
    is_correct = countdown_is_correct(expression, numbers, int(doc["output"]))
    return {"accuracy": float(is_correct), "unreadable": float(not is_arithmetic(expression))}
