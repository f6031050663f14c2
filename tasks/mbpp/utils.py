"""MBPP: the program in an answer, and whether it passes its tests in the sandbox."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lm_eval_codd import sandbox
from lm_eval_codd.benchmarks import BenchmarkTask

# What code_eval, with which the paper's numbers were made, gives a program.
TIMEOUT_SECONDS = 3.0
MEMORY_MB = 2048
FENCE = "```"
# How the outcome of a text that does not compile starts (the last one: a null byte, before Python 3.12).
NOT_PYTHON = ("SyntaxError:", "IndentationError:", "TabError:", "ValueError: source code string")


class SandboxedTask(BenchmarkTask):
    """Asks for lm-eval's `--confirm_run_unsafe_code` only where the kernel does not confine the programs."""

    def __init__(self, config: dict[str, Any]) -> None:
        limits = {"timeout_seconds": TIMEOUT_SECONDS, "memory_mb": MEMORY_MB}
        config["metadata"]["sandbox"] = {**sandbox.isolation(), **limits}
        super().__init__({**config, "unsafe_code": not sandbox.is_confined()})


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
    """lm-eval filter: each answer becomes [program, how it ended, detail]; all programs of a task run side by side."""
    responses = list(responses)
    programs = [
        (extract_code(answer), tests(doc)) for answers, doc in zip(responses, docs, strict=True) for answer in answers
    ]
    outcomes = iter(sandbox.run_programs(programs, timeout=TIMEOUT_SECONDS, memory_mb=MEMORY_MB))
    ended = iter(zip(programs, outcomes, strict=True))
    return [
        [[code, outcome.status, outcome.detail] for (code, _), outcome in (next(ended) for _ in answers)]
        for answers in responses
    ]


def tests(doc: dict[str, Any]) -> str:
    """What a program must get through: the row's setup, then its tests."""
    return "\n".join([doc["test_setup_code"], *doc["test_list"]])


def process_results(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """The share of a row's answers that passed, and of those that are no program: one answer unless the task repeats.

    `results` is the row's list from `extract_and_run` in lm-eval 0.5, and a list with that list in it in 0.4.
    """
    ended = results[0] if isinstance(results[0][0], list) else results
    return {
        "pass_at_1": sum(status == "passed" for _, status, _ in ended) / len(ended),
        "unreadable": sum(not _is_program(code, status, detail) for code, status, detail in ended) / len(ended),
    }


def _is_program(code: str, status: str, detail: str) -> bool:
    """Whether an answer held anything that Python could compile."""
    return bool(code) and not (status == "failed" and detail.startswith(NOT_PYTHON))
