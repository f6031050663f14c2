"""MBPP's sanitized rows as KLASS evaluates them: the first block of Python, or all of an answer, against all tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lm_eval_codd.grading.klass import mbpp_code, mbpp_tests
from lm_eval_codd.programs import run_answers


def extract_and_run(responses: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[list[str]]]:
    """lm-eval filter, see `run_answers`."""
    return run_answers(responses, docs, lambda doc, answer: mbpp_code(answer), lambda doc: mbpp_tests(doc["test_list"]))
