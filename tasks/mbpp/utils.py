"""MBPP: the program in an answer, and whether it passes its tests in the sandbox."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lm_eval_codd.programs import run_answers

FENCE = "```"


def extract_code(answer: str) -> str:
    """The program in an answer, found as by the paper's harness.

    The prompt already opened a block, so an answer normally starts with code and closes it. With text and a second
    block after that, three fences are left and everything before the last one is taken, prose included; such an answer
    fails. That is kept, because the published numbers have it.
    """
    answer = answer.strip()
    for opening in (f"{FENCE}python", FENCE):
        if answer.startswith(opening):
            return answer.removeprefix(opening).split(FENCE, 1)[0].strip()
    answer = answer.replace(f"{FENCE}python", FENCE)
    fences = answer.count(FENCE)
    if fences % 2:
        return answer[: answer.rfind(FENCE)].strip()
    return answer.split(FENCE)[1].strip() if fences else answer


def extract_and_run(responses: Iterable[Sequence[str]], docs: Sequence[dict[str, Any]]) -> list[list[list[str]]]:
    """lm-eval filter, see `run_answers`."""
    return run_answers(responses, docs, lambda doc, answer: extract_code(answer), tests)


def tests(doc: Mapping[str, Any]) -> str:
    """What a program must get through: the row's setup, then its tests."""
    return "\n".join([doc["test_setup_code"], *doc["test_list"]])
