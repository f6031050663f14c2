"""GSM8K as CD4LM grades it."""

from __future__ import annotations

from typing import Any

from lm_eval_codd.grading.cd4lm import gsm8k_answer, gsm8k_is_correct


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the answer is the number behind the gold solution's `####`, and whether there was one to read."""
    answer = gsm8k_answer(results[0])
    target = doc["answer"].split("####")[-1].strip()
    return {"accuracy": float(gsm8k_is_correct(answer, target)), "unreadable": float(answer is None)}
