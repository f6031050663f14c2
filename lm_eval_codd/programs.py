"""Tasks whose answers hold programs: each runs in the sandbox, in front of the tests of its row.

A task's YAML names `ProgramTask` as its `class`, a filter that calls `run_answers`, and one of the scores here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

from lm_eval_codd import sandbox
from lm_eval_codd.benchmarks import BenchmarkTask
from lm_eval_codd.grading import UNREADABLE
from lm_eval_codd.grading.pass_at_k import pass_at_k

__all__ = ["ProgramTask", "humaneval_tests", "mbpp_tests", "pass_at_1", "pass_at_1_and_10", "run_answers"]

# What code_eval gives a program, with which published numbers are made.
TIMEOUT_SECONDS: Final = 3.0
MEMORY_MB: Final = 2048
# How the outcome of a text that does not compile starts (the last one: a null byte, before Python 3.12).
_NOT_PYTHON: Final = ("SyntaxError:", "IndentationError:", "TabError:", "ValueError: source code string")


class ProgramTask(BenchmarkTask):
    """Asks for lm-eval's `--confirm_run_unsafe_code` only where the kernel does not confine the programs.

    With CODD_SANDBOX=strict it is refused (`SandboxError`) where any layer of the sandbox is missing.
    """

    timeout_seconds: ClassVar[float] = TIMEOUT_SECONDS

    def __init__(self, config: dict[str, Any]) -> None:
        sandbox.require()
        limits = {"timeout_seconds": self.timeout_seconds, "memory_mb": MEMORY_MB}
        config["metadata"]["sandbox"] = {**sandbox.isolation(), **limits}
        super().__init__({**config, "unsafe_code": not sandbox.is_confined()})


def run_answers(
    responses: Iterable[Sequence[str]],
    docs: Sequence[Mapping[str, Any]],
    program_of: Callable[[Mapping[str, Any], str], str],
    tests_of: Callable[[Mapping[str, Any]], str],
    timeout: float = TIMEOUT_SECONDS,
) -> list[list[list[str]]]:
    """For an lm-eval filter: each answer becomes [program, how it ended, detail].

    All programs of a task run side by side, and equal ones of a row once.

    Args:
        responses: of each row its answers.
        docs: the rows.
        program_of: finds the program in a row's answer; empty where there is none.
        tests_of: what a row's program must get through.
        timeout: seconds for each.
    """
    found = [
        [(program_of(doc, answer), tests_of(doc)) for answer in answers]
        for answers, doc in zip(responses, docs, strict=True)
    ]
    programs = list(dict.fromkeys(program for of_row in found for program in of_row))
    outcomes = sandbox.run_programs(programs, timeout=timeout, memory_mb=MEMORY_MB)
    ended = dict(zip(programs, outcomes, strict=True))
    return [[[program[0], ended[program].status, ended[program].detail] for program in of_row] for of_row in found]


def humaneval_tests(doc: Mapping[str, Any]) -> str:
    """A HumanEval row's tests: the function that checks, called with the function that is asked for."""
    return f"{doc['test']}\ncheck({doc['entry_point']})"


def mbpp_tests(doc: Mapping[str, Any]) -> str:
    """An MBPP row's three assertions, which are shown in the prompt; nothing else, its `test_setup_code` neither."""
    return "\n".join(doc["test_list"][:3])


def pass_at_1(doc: Mapping[str, Any], results: list[Any]) -> dict[str, float]:
    """A row's scores: the share of its answers that pass, and of those that are no program.

    Args:
        doc: not read.
        results: the row's list from `run_answers` in lm-eval 0.5, and a list with that list in it in 0.4.
    """
    return _scores(results, (1,))


def pass_at_1_and_10(doc: Mapping[str, Any], results: list[Any]) -> dict[str, float]:
    """The same with pass@10, for tasks with 10 `repeats` or more."""
    return _scores(results, (1, 10))


def _scores(results: list[Any], numbers: Sequence[int]) -> dict[str, float]:
    ended = results[0] if isinstance(results[0][0], list) else results
    num_passed = sum(status == "passed" for _, status, _ in ended)
    return {
        **{f"pass_at_{k}": pass_at_k(len(ended), num_passed, k) for k in numbers},
        UNREADABLE: sum(not _is_program(*one) for one in ended) / len(ended),
    }


def _is_program(code: str, status: str, detail: str) -> bool:
    """Whether an answer held anything that Python could compile."""
    return bool(code) and not (status == "failed" and detail.startswith(_NOT_PYTHON))
