"""HumanEval as lm-eval's `humaneval_instruct`: the answer goes on from the function's head, in an open block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lm_eval_codd.programs import humaneval_tests, run_answers


def extract_and_run(responses: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[list[str]]]:
    """lm-eval filter, see `run_answers`."""
    return run_answers(responses, docs, _program, humaneval_tests)


def _program(doc: Mapping[str, Any], answer: str) -> str:
    return doc["prompt"] + answer.split("```", 1)[0]
