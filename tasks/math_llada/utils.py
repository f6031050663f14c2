"""MATH as OpenCompass grades it."""

from __future__ import annotations

from typing import Any

from lm_eval_codd.grading.opencompass_math import boxed, is_equal, math_answer


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the answer is what the gold solution has in its box, and whether anything is left of the answer."""
    answer = math_answer(results[0])
    return {"accuracy": float(is_equal(answer, boxed(doc["solution"]))), "unreadable": float(not answer)}
