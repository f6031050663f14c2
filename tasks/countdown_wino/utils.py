"""Countdown as WINO grades it."""

from __future__ import annotations

from typing import Any

from lm_eval_codd.grading.countdown import expression, is_right, numbers_of


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the answer's expression has all numbers once and the target's value, and whether it has any number."""
    found = expression(results[0])
    numbers = [int(number) for number in doc["input"].split(",")]
    return {
        "accuracy": float(is_right(found, int(doc["output"]), numbers)),
        "unreadable": float(not numbers_of(found)),
    }
