"""MBPP as OpenCompass runs it: the program in an answer, and the tests of the prompt behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lm_eval_codd.grading.opencompass import mbpp_program
from lm_eval_codd.programs import run_answers
from lm_eval_codd.rounds import ProgramRoundsTask

# What OpenCompass gives a program.
TIMEOUT_SECONDS = 9.0


class MbppTask(ProgramRoundsTask):
    """Asks in rounds, and gives programs the official time."""

    timeout_seconds = TIMEOUT_SECONDS


def extract_and_run(responses: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[list[str]]]:
    """lm-eval filter, see `run_answers`."""
    return run_answers(responses, docs, lambda doc, answer: mbpp_program(answer), tests, timeout=TIMEOUT_SECONDS)


def tests(doc: Mapping[str, Any]) -> str:
    """A row's assertions, all of them; its `test_setup_code` does not run."""
    return "\n".join(doc["test_list"])
