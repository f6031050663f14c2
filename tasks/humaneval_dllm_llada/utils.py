"""HumanEval as dLLM's fork of lm-eval asks LLaDA for it, with the two graders that the fork has for its answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from lm_eval_codd.grading.open_dllm import humaneval_program
from lm_eval_codd.programs import humaneval_tests, run_answers

# The first block with what names its language, closed or not.
_BLOCK: Final = re.compile(r"```[a-zA-Z0-9_+-]*\s*(.*?)(?:```|$)", re.DOTALL)


def extract_and_run(responses: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[list[str]]]:
    """lm-eval filter, see `run_answers`; HumanEval's prompt is no part of the program."""
    return run_answers(responses, docs, lambda doc, answer: extract_code(answer), humaneval_tests)


def sanitize_and_run(responses: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[list[str]]]:
    """lm-eval filter, see `run_answers`: behind the prompt, and reduced to what the function reaches."""
    return run_answers(responses, docs, _sanitized, humaneval_tests)


def extract_code(answer: str) -> str:
    """The first block, else the answer, without the blanks before it."""
    block = _BLOCK.search(answer)
    return (answer if block is None else block.group(1)).lstrip()


def _sanitized(doc: Mapping[str, Any], answer: str) -> str:
    return humaneval_program(doc["prompt"], doc["entry_point"], answer)
