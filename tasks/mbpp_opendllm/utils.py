"""MBPP as Open-dLLM evaluates it: the answer without its fences, against the three assertions of the prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lm_eval_codd.grading.open_dllm import mbpp_program
from lm_eval_codd.programs import mbpp_tests, run_answers


def extract_and_run(responses: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[list[str]]]:
    """lm-eval filter, see `run_answers`."""
    return run_answers(responses, docs, lambda doc, answer: mbpp_program(answer), mbpp_tests)
