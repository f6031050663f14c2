"""HumanEval as KLASS evaluates it: the first block of an answer, or all of it, behind the prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lm_eval_codd.grading.klass import humaneval_code
from lm_eval_codd.programs import humaneval_tests, run_answers


def extract_and_run(responses: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[list[str]]]:
    """lm-eval filter, see `run_answers`."""
    return run_answers(responses, docs, lambda doc, answer: doc["prompt"] + humaneval_code(answer), humaneval_tests)
