"""GSM8K as LLaDA's copy of OpenCompass grades base models."""

from __future__ import annotations

from typing import Any

from lm_eval_codd.grading.opencompass import gold_number, is_number, stated_number


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the first stated number, else the last, is the gold one, and whether there is one."""
    answer = stated_number(results[0])
    return {"accuracy": float(is_number(answer, gold_number(doc["answer"]))), "unreadable": float(answer is None)}
