"""lm-eval's errors about what a user typed, in one line that says what to do. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from lm_eval_codd.names import near_names, unknown_name

# How these errors begin.
UNKNOWN_TASKS: Final = "Tasks not found: "
NO_TASKS: Final = "No tasks specified"
UNKNOWN_MODEL: Final = "Attempted to load model "
NO_DOCUMENTS: Final = "task.build_requests() did not find any docs"
UNREACHABLE_ROWS: Final = r"Couldn't reach '([^']*)' on the Hub"  # of `datasets`
NEGATIVE_LIMIT: Final = "Indices for islice() must be None or an integer"  # Python's own, of a slice of the documents


def explained(error: str, model: str, *, models: Collection[str], tasks: Collection[str], command: str) -> str | None:
    """What to do about an error of lm-eval's; None for one that is about nothing of these.

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
    if error.startswith((NO_DOCUMENTS, NEGATIVE_LIMIT)):
        return "no document is left to evaluate; use a `--limit` of 1 or more (or a share between 0 and 1), or none"
    if unreachable := re.match(UNREACHABLE_ROWS, error):
        return (
            f"the rows of `{unreachable[1]}` are not on this machine, and the hub cannot be reached; run this once "
            "with a network and without HF_HUB_OFFLINE, then they are in the cache"
        )
    return None
