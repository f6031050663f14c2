"""MATH as OpenCompass grades it by math_verify."""

from __future__ import annotations

from typing import Any

from lm_eval_codd.grading.opencompass_math import boxed, verified


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether math_verify finds what the gold solution has in its box, and whether it finds an answer."""
    is_right, is_read = verified(results[0], boxed(doc["solution"]))
    return {"accuracy": float(is_right), "unreadable": float(not is_read)}
