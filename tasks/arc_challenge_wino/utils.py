"""ARC as WINO grades it."""

from __future__ import annotations

from typing import Any

from lm_eval_codd.grading.wino import letter


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the answer is the gold option's label, and whether there was a letter to read."""
    answer = letter(results[0])
    return {"accuracy": float(answer == doc["answerKey"]), "unreadable": float(answer is None)}
