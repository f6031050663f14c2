"""Real rows of four tasks through lm-eval, offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from lm_eval_codd.registration import tasks_dir

if TYPE_CHECKING:
    import pytest

TASKS: Final = ["codd_gsm8k", "codd_math500", "codd_mbpp", "codd_gpqa"]


def evaluate(
    monkeypatch: pytest.MonkeyPatch, golden_dir: Path, batch_size: int, *, model: str = "masked_lm", **arguments: Any
) -> dict[str, Any]:
    """The result of two rows of each task."""
    monkeypatch.setenv("CODD_DATA_DIR", str(golden_dir / "tasks" / "data"))
    return simple_evaluate(
        model,
        model_args=arguments,
        tasks=TASKS,
        task_manager=TaskManager(include_defaults=False, include_path=str(tasks_dir())),
        limit=2,
        batch_size=batch_size,
        device="cpu",
        bootstrap_iters=0,
        confirm_run_unsafe_code=True,
    )


def answers_of(result: dict[str, Any]) -> dict[str, list]:
    """The answers to each task."""
    return {task: [sample["resps"] for sample in rows] for task, rows in result["samples"].items()}
