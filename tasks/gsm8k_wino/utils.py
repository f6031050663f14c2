"""GSM8K as WINO grades it."""

from __future__ import annotations

from typing import Any

from lm_eval_codd.grading.wino import gsm8k_answer, is_number


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the answer is the gold number, and whether there was a number to read."""
    answer = gsm8k_answer(results[0])
    return {
        "accuracy": float(is_number(answer, gsm8k_answer(doc["answer"]))),
        "unreadable": float(answer is None),
    }
