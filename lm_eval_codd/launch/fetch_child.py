"""The process that fetches: models by huggingface_hub, data sets by the tasks' own loaders in lm-eval.

Started by `fetch.fetch` with one JSON argument. Answers with one JSON line an item on standard output; progress bars
and library messages go to standard error. Never imported by the launcher, which stays free of these libraries.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from pathlib import Path
from typing import Any, Final, TextIO

from lm_eval_codd.names import unknown_name
from lm_eval_codd.runs.checkpoints import split_revision

_FILES: Final = ("*.safetensors", "*.json", "*.jinja", "*.jpc", "*.txt", "*.model", "tokenizer*")
_LONGEST_ERROR: Final = 400
_SECONDS: Final = 10


def main(request: dict[str, Any], replies: TextIO) -> None:
    """Fetch everything that `request` names, whatever fails on the way.

    A hub that cannot be reached is asked once, not again and again for each item: then the cache alone is looked at.
    """
    if not hub_is_reachable():
        _stay_offline()
        replies.write(json.dumps({"kind": "hub", "name": "", "revision": None, "error": "cannot be reached"}) + "\n")
    for name in request["models"]:
        _attempt(replies, "models", name, _fetch_model)
    for name in request["tasks"]:
        _attempt(replies, "tasks", name, lambda task: _fetch_task(task, request))


def hub_is_reachable() -> bool:
    """Whether the hub answers at all, whatever it says."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=_SECONDS).close()
    except HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _stay_offline() -> None:
    """As with HF_HUB_OFFLINE=1, which these libraries read when they are imported."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = True


def _attempt(replies: TextIO, kind: str, name: str, action: Any) -> None:
    revision = error = None
    try:
        revision = action(name)
    # Anything can come out of a network or a task's own code; the launcher reports it and names the runs.
    except Exception as exception:
        text = " ".join(str(exception).split()) or type(exception).__name__
        error = text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}..."
    replies.write(json.dumps({"kind": kind, "name": name, "revision": revision, "error": error}) + "\n")
    replies.flush()


def _fetch_model(name: str) -> str:
    from huggingface_hub import snapshot_download

    name, revision = split_revision(name)
    return Path(snapshot_download(name, revision=revision, allow_patterns=list(_FILES))).name


@functools.cache
def _task_manager(folders: tuple[str, ...], with_stock_tasks: bool, metadata: str) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(
        include_path=list(folders), include_defaults=with_stock_tasks, metadata=json.loads(metadata or "{}")
    )


def _fetch_task(task: str, request: dict[str, Any]) -> None:
    """A task, by its name and its arguments as JSON."""
    name, _, metadata = task.partition(" ")
    manager = _task_manager(tuple(request["task_folders"]), request["with_stock_tasks"], metadata)
    if name not in manager.all_tasks:
        raise ValueError(unknown_name(name, manager.all_tasks, kind="task"))
    manager.load([name])


if __name__ == "__main__":
    # Libraries print to standard output now and then; the answers must stay alone there.
    answers, sys.stdout = sys.stdout, sys.stderr
    main(json.loads(sys.argv[1]), answers)
