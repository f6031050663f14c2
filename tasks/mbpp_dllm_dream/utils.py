"""MBPP as dLLM's fork of lm-eval asks Dream for it: all of an answer up to the fence that closes it is the program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lm_eval_codd.programs import mbpp_tests, run_answers


def run(responses: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[list[str]]]:
    """lm-eval filter, see `run_answers`."""
    return run_answers(responses, docs, lambda doc, answer: answer, mbpp_tests)
