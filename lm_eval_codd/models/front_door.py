"""What an evaluation asks for that is refused, or said, before anything is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lm_eval_codd.models.evaluation import Evaluation


def refuse_idle_ranks(evaluation: Evaluation, world_size: int) -> None:
    """Raise `ValueError` where processes have no document: lm-eval stops there, and the others wait for them."""
    if evaluation.limit is not None and 1 <= evaluation.limit < world_size:
        raise ValueError(
            f"`--limit {evaluation.limit:g}` gives {world_size} processes {evaluation.limit:g} document(s) of a task, "
            f"and lm-eval stops in one that has none; use --limit {world_size} or more, or fewer processes"
        )
    for name, documents in evaluation.samples.items():
        if len(documents) < world_size:
            raise ValueError(
                f"`--samples` gives {world_size} processes {len(documents)} document(s) of {name}, and lm-eval stops "
                f"in one that has none; name {world_size} or more, or use fewer processes"
            )


def refuse_unread_greedy(task: str) -> ValueError:
    """The error for `is_greedy=False` where a metric of the task reads it."""
    return ValueError(
        f"`is_greedy=False`, but a metric of task {task} reads whether greedy decoding writes the target; leave it out"
    )


def check_system_instruction(evaluation: Evaluation) -> Iterator[str]:
    """A line to say where `--system_instruction` adds to a task's own system prompt.

    Raises:
        ValueError: it is the task's own prompt, or the beginning of it, which the model would then read twice.
    """
    instruction = (evaluation.system_instruction or "").strip()
    if not instruction:
        return
    adding = []
    for name, task in evaluation.tasks.items():
        own = task.config.description
        if not isinstance(own, str) or not own.strip():
            continue
        if own.strip().startswith(instruction):
            raise ValueError(
                f"`--system_instruction` repeats the system prompt that task {name} has already; leave it out"
            )
        adding.append(name)
    if adding:
        yield (
            f"`--system_instruction` is put in front of the system prompt that task {_few(adding)} has already; its "
            "scores do not compare with those under its own prompt alone"
        )


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
