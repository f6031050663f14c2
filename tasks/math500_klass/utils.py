"""MATH-500 as KLASS grades it."""

from __future__ import annotations

from typing import Any

from lm_eval_codd.grading.klass_math import candidates


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the answer and the gold solution may say the same, and whether the answer says anything."""
    found = candidates(doc["problem"], results[0])
    is_correct = bool(found & candidates(doc["problem"], doc["solution"]))
    return {"accuracy": float(is_correct), "unreadable": float(not any(found))}
