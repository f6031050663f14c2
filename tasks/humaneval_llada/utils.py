"""HumanEval as LLaDA's evaluation code asks for it: OpenCompass's `humaneval_gen_8e312c`, whose whole answer counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from lm_eval_codd.programs import humaneval_tests, run_answers

_BLOCK: Final = re.compile(r"```\w*\n(.*?)```", re.DOTALL)


def extract_and_run(responses: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[list[str]]]:
    """lm-eval filter, see `run_answers`."""
    return run_answers(responses, docs, lambda doc, answer: doc["prompt"] + extract_code(answer), humaneval_tests)


def extract_code(answer: str) -> str:
    """The first block that is closed, else the answer, without the blanks before it.

    Behind the prompt, whose function is whole with its docstring alone, only code at the left margin runs: the
    function again, and no body that goes on.
    """
    block = _BLOCK.search(answer)
    return (answer if block is None else block.group(1)).lstrip()
