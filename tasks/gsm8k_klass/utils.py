"""GSM8K as KLASS grades it."""

from __future__ import annotations

from typing import Any

from lm_eval_codd.grading.klass import gsm8k_answer, gsm8k_target


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the answer is written as the gold number is, and whether there was a number to read."""
    answer = gsm8k_answer(results[0])
    return {"accuracy": float(answer == gsm8k_target(doc["answer"])), "unreadable": float(not answer)}
