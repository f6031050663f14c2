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

# What --model_alias of the launcher takes.
MODEL_ALIASES: Final = tuple(DEFAULT_CHECKPOINTS)


class Task(NamedTuple):
    """A task of this package.

    Attributes:
        rows: its documents.
        stock: lm-eval's own task of this benchmark, where it has one.
        paper_metric: what the CoDD paper's tables report of it ("metric,filter"); None where they have no such column.
    """

    rows: int
    stock: str | None = None
    paper_metric: str | None = None


# By short name, the paper's in the order of its tables. lm-eval knows each with this package's prefix.
TASKS: Final[Mapping[str, Task]] = {
    "math500": Task(500, "minerva_math500", "math_verify,none"),
    "gsm8k": Task(1319, "gsm8k", "exact_match,flexible-extract"),
    "gpqa": Task(448, "gpqa_main_generative_n_shot", "exact_match,flexible-extract"),
    "mbpp": Task(500, "mbpp_instruct", "pass_at_1,extract_code"),
    "demo": Task(300),
}
PAPER_TASKS: Final = tuple(name for name, task in TASKS.items() if task.paper_metric is not None)
TASK_PREFIX: Final = "codd_"

# Environment variables: where a benchmark's rows are in place of the hub; where a run says how far it is; how a user
# called the launcher, for the commands that it shows.
DATA_DIR: Final = "CODD_DATA_DIR"
PROGRESS_FILE: Final = "CODD_PROGRESS_FILE"
CALLED_AS: Final = "CODD_CALLED_AS"
