"""What has a name for users, once: the families' titles and checkpoints, the tasks, environment variables.

Imports nothing heavy. What a family decodes with by default stands in `settings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

FAMILY_TITLES: Final[Mapping[str, str]] = {"llada": "LLaDA", "dream": "Dream", "a2d": "A2D", "open_dllm": "Open-dLLM"}
DEFAULT_CHECKPOINTS: Final[Mapping[str, str]] = {
    "llada": "GSAI-ML/LLaDA-8B-Instruct",
    "dream": "Dream-org/Dream-v0-Instruct-7B",
}

# The model that takes a checkpoint of any family, and what --model_alias of the launcher takes.
MASKED_LM: Final = "masked_lm"
MODEL_ALIASES: Final = (*DEFAULT_CHECKPOINTS, MASKED_LM)


TASK_PREFIX: Final = "codd_"


class Task(NamedTuple):
    """A task of this package.

    Attributes:
        rows: its documents.
        stock: lm-eval's own task of this benchmark, where it has one.
        paper_metric: what the CoDD paper's tables report of it ("metric,filter"); None where they have no such column.
        prefix: in front of its short name in lm-eval.
        repeats: answers to a document.
        gen_length: tokens of an answer in its protocol; None: the model's.
        chat_template: whether its prompts go through one in its protocol.
    """

    rows: int
    stock: str | None = None
    paper_metric: str | None = None
    prefix: str = TASK_PREFIX
    repeats: int = 1
    gen_length: int | None = None
    chat_template: bool = True


def _open_dllm(rows: int, stock: str) -> Task:
    return Task(rows, stock, prefix="", repeats=10, gen_length=128, chat_template=False)


def _cd4lm(rows: int, stock: str, gen_length: int) -> Task:
    return Task(rows, stock, prefix="", gen_length=gen_length, chat_template=False)


# By short name, the paper's in the order of its tables.
TASKS: Final[Mapping[str, Task]] = {
    "math500": Task(500, "minerva_math500", "math_verify,none"),
    "gsm8k": Task(1319, "gsm8k", "exact_match,flexible-extract"),
    "gpqa": Task(448, "gpqa_main_generative_n_shot", "exact_match,flexible-extract"),
    "mbpp": Task(500, "mbpp_instruct", "pass_at_1,extract_code"),
    "demo": Task(300),
    "humaneval_opendllm": _open_dllm(164, "humaneval"),
    "humaneval_plus_opendllm": _open_dllm(164, "humaneval_plus"),
    "mbpp_opendllm": _open_dllm(500, "mbpp"),
    "mbpp_plus_opendllm": _open_dllm(378, "mbpp_plus"),
    "gsm8k_cd4lm": _cd4lm(1319, "gsm8k", 256),
    "math500_cd4lm": _cd4lm(500, "minerva_math500", 512),
    "humaneval_cd4lm": _cd4lm(164, "humaneval", 256),
    "mbpp_cd4lm": _cd4lm(500, "mbpp", 256),
}
PAPER_TASKS: Final = tuple(name for name, task in TASKS.items() if task.paper_metric is not None)
_SHORT_NAMES: Final[Mapping[str, str]] = {f"{task.prefix}{short}": short for short, task in TASKS.items()}


def task_name(short: str) -> str:
    """lm-eval's name of a task of this package. Raises `KeyError` for any other."""
    return f"{TASKS[short].prefix}{short}"


def short_name(task: str) -> str | None:
    """The short name of a task of this package by lm-eval's; None for all others."""
    return _SHORT_NAMES.get(task)


# Environment variables: where a benchmark's rows are in place of the hub; where a run says how far it is; how a user
# called the launcher, for the commands that it shows.
DATA_DIR: Final = "CODD_DATA_DIR"
PROGRESS_FILE: Final = "CODD_PROGRESS_FILE"
CALLED_AS: Final = "CODD_CALLED_AS"
