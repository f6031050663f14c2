"""GSM8K as d1 grades it."""

from __future__ import annotations

from typing import Any

from lm_eval_codd.grading.d1 import gsm8k_answer, gsm8k_target


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the answer is the gold number, and whether there was a number to read."""
    answer = gsm8k_answer(results[0])
    is_correct = answer is not None and answer == gsm8k_target(doc["answer"])
    return {"accuracy": float(is_correct), "unreadable": float(answer is None)}
