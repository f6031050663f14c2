"""GSM8K as OpenCompass grades it."""

from __future__ import annotations

from typing import Any

from lm_eval_codd.grading.opencompass import gold_number, is_number, last_number


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the last number of the answer is the gold one, and whether there is one."""
    answer = last_number(results[0])
    return {"accuracy": float(is_number(answer, gold_number(doc["answer"]))), "unreadable": float(answer is None)}
