"""HumanEval as LLaDA's copy of OpenCompass has base models go on with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lm_eval_codd.grading.opencompass import continued_body
from lm_eval_codd.programs import humaneval_tests, run_answers


def extract_and_run(responses: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[list[str]]]:
    """lm-eval filter, see `run_answers`."""
    return run_answers(responses, docs, lambda doc, answer: doc["prompt"] + continued_body(answer), humaneval_tests)
