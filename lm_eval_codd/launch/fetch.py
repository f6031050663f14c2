"""Fetches models and data sets once, before the slots start: not each run for itself, and not on a GPU's time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from lm_eval_codd.catalogue import DATA_DIR
from lm_eval_codd.launch.errors import NotStarted
from lm_eval_codd.registration import task_names, tasks_dir
from lm_eval_codd.runs import checkpoints
from lm_eval_codd.runs.run import Run, is_own_task

if TYPE_CHECKING:
    from lm_eval_codd.launch.schedule import StopRequest

_CHILD: Final = (sys.executable, "-m", "lm_eval_codd.launch.fetch_child")
_POLL_SECONDS: Final = 0.1


def needs(runs: Mapping[str, Run]) -> dict[str, dict[str, list[str]]]:
    """What has to come from the hub, and the names of the runs that need it: `{"models": {id: names}, "tasks": ...}`.

    A task with arguments of its own has them behind its name, as JSON: they may say where its data are.
    Folders, the demo, tasks that come with their rows, and the project's others with CODD_DATA_DIR are on this machine
    already.
    """
    models: dict[str, list[str]] = {}
    tasks: dict[str, list[str]] = {}
    for name, run in runs.items():
        for checkpoint in run.sources.values():
            if checkpoints.is_hub_id(checkpoint):
                models.setdefault(checkpoint, []).append(name)
        if not _is_local(run):
            tasks.setdefault(" ".join(filter(None, (run.task, run.metadata_of_task))), []).append(name)
    return {"models": models, "tasks": tasks}


def list_include_paths(runs: Iterable[Run]) -> list[str]:
    """The users' folders of tasks that the runs name, each once."""
    return list(dict.fromkeys(run.include_path for run in runs if run.include_path is not None))


class Fetched(NamedTuple):
    """The commit of each model by the run's spelling of it, and whether the hub could be reached."""

    revisions: dict[str, str]
    hub_is_reachable: bool = True


def fetch(
    wanted: Mapping[str, Mapping[str, Sequence[str]]],
    stop: StopRequest,
    child: Sequence[str] = _CHILD,
    include_paths: Sequence[str] = (),
) -> Fetched:
    """Fetch what `needs` has listed.

    The work is done in a child process, so that this one stays light and a signal can end it at any moment.

    Raises:
        NotStarted: something could not be had. Nothing is raised when `stop` is set; the caller looks at it.
    """
    if not wanted["models"] and not wanted["tasks"]:
        return Fetched({})
    models, tasks = list(wanted["models"]), list(wanted["tasks"])
    request = {
        "models": models,
        "tasks": tasks,
        "task_folders": [str(tasks_dir()), *include_paths],
        "with_stock_tasks": not {task.partition(" ")[0] for task in tasks} <= task_names(),
    }
    process = subprocess.Popen(
        [*child, json.dumps(request)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        start_new_session=True,
    )
    answer = _wait(process, stop)
    if stop:
        return Fetched({})
    replies = [json.loads(line) for line in answer.splitlines()]
    hub_is_reachable = not any(reply["kind"] == "hub" for reply in replies)
    replies = [reply for reply in replies if reply["kind"] != "hub"]
    lines = [
        f"cannot fetch {reply['name']}: {reply['error']} (needed by {', '.join(wanted[reply['kind']][reply['name']])})"
        for reply in replies
        if reply["error"]
    ]
    missing = len(models) + len(tasks) - len(replies)
    if missing:
        lines.append(f"fetching ended early, with exit status {process.returncode}; its output is above")
    if lines:
        raise NotStarted(
            lines if hub_is_reachable else [*lines, "the hub cannot be reached, and the cache was looked at"]
        )
    return Fetched({reply["name"]: reply["revision"] for reply in replies if reply["revision"]}, hub_is_reachable)


def _wait(process: subprocess.Popen, stop: StopRequest) -> bytes:
    try:
        while True:
            try:
                return process.communicate(timeout=_POLL_SECONDS)[0]
            except subprocess.TimeoutExpired:
                if stop:
                    return b""
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _is_local(run: Run) -> bool:
    return run.comes_with_rows or (is_own_task(run.task) and bool(os.environ.get(DATA_DIR)))
