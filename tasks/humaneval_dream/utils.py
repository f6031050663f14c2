"""HumanEval as Dream's evaluation code grades it: a fork of lm-eval whose answers are sanitized, as Open-dLLM's are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lm_eval_codd.grading.open_dllm import humaneval_program
from lm_eval_codd.programs import humaneval_tests, run_answers


def extract_and_run(responses: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[list[str]]]:
    """lm-eval filter, see `run_answers`."""
    return run_answers(responses, docs, _program, humaneval_tests)


def _program(doc: Mapping[str, Any], answer: str) -> str:
    return humaneval_program(doc["prompt"], doc["entry_point"], answer)
