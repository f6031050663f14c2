"""lm-eval's errors about a name that a user typed, in one line that says what to do. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from lm_eval_codd.names import near_names, unknown_name

# How these errors begin.
UNKNOWN_TASKS: Final = "Tasks not found: "
NO_TASKS: Final = "No tasks specified"
UNKNOWN_MODEL: Final = "Attempted to load model "


def explained(error: str, model: str, *, models: Collection[str], tasks: Collection[str], command: str) -> str | None:
    """What to do about an error of lm-eval's; None for one that is about no name.

    Args:
        error: lm-eval's message.
        model: the one that was asked for.
        models: those that there are.
        tasks: those of this package.
        command: what runs lm-eval, for the message.
    """
    if error.startswith(UNKNOWN_TASKS):
        names = error.removeprefix(UNKNOWN_TASKS)
        near = [near for name in names.split(", ") for near in near_names(name, tasks, most=1)]
        hint = f"did you mean {', '.join(near)}? " if near else ""
        return f"lm-eval knows no task {names}; {hint}`{command} ls tasks` lists them all"
    if error.startswith(NO_TASKS):
        return f"`--tasks` is missing; `{command} ls tasks` lists them all"
    if error.startswith(UNKNOWN_MODEL):
        return unknown_name(model, models, kind="model")
    return None
