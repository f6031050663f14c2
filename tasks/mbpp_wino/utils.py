"""MBPP as WINO evaluates it: the function that the first test calls, up to the fence behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lm_eval_codd.grading.wino import mbpp_code
from lm_eval_codd.programs import mbpp_tests, run_answers


def extract_and_run(responses: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[list[str]]]:
    """lm-eval filter, see `run_answers`."""
    return run_answers(responses, docs, lambda doc, answer: mbpp_code(answer, doc["test_list"][0]), mbpp_tests)
