"""What a task does, a JSON line an event in a file of its own, for whoever waits for the array elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lm_eval_codd.launch.execute import Job, Outcome

if TYPE_CHECKING:
    from typing_extensions import Self

    from lm_eval_codd.launch.execute import Execution
    from lm_eval_codd.launch.lock import Holder


class Started(NamedTuple):
    """A run has started on a slot of a node."""

    name: str
    slot: str
    goes_on: bool


class Ended(NamedTuple):
    """A run has ended."""

    name: str
    outcome: Outcome


class Held(NamedTuple):
    """A run waits for someone else's work on it."""

    name: str
    holder: str


class Reporter:
    """Writes the events of one task down. An `Observer` of `schedule.run_all`.

    Args:
        path: the file; what an earlier execution of the task wrote stays.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def __enter__(self) -> Self:
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        # A kill may have left half a line.
        os.write(self._handle, b"\n")
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            os.close(self._handle)

    def started(self, execution: Execution) -> None:
        """A run was started."""
        where = f"{platform.node()} {execution.slot.label}"
        self._write(started=execution.job.name, slot=where, goes_on=execution.goes_on)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """A run has ended."""
        self._write(ended=job.name, outcome=dataclasses.asdict(outcome))

    def stalled(self, job: Job, outcome: Outcome) -> None:
        """Nothing: a task has no stall limit but its time limit."""

    def held(self, job: Job, holder: Holder) -> None:
        """A run waits."""
        self._write(held=job.name, holder=str(holder))

    def look(self, executions: Sequence[Execution]) -> None:
        """Nothing: how far a run is stands in its folder."""

    def _write(self, **event: Any) -> None:
        # Those who wait miss a line of it at a full disk; the runs go on and fail where their answers are written.
        with contextlib.suppress(OSError):
            assert self._handle is not None
            os.write(self._handle, json.dumps(event).encode() + b"\n")


class Reader:
    """Reads a task's events as they come.

    Args:
        path: the file, which may come later.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[Started | Ended | Held]:
        """What is new: whole lines only, and those that say something."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except OSError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [event for line in whole.splitlines() if (event := _event(line)) is not None]


def _event(line: bytes) -> Started | Ended | Held | None:
    try:
        said = json.loads(line)
        if "started" in said:
            return Started(str(said["started"]), str(said["slot"]), bool(said["goes_on"]))
        if "held" in said:
            return Held(str(said["held"]), str(said["holder"]))
        outcome = said["outcome"]
        return Ended(str(said["ended"]), Outcome(**{**outcome, "log_tail": tuple(outcome["log_tail"])}))
    except (ValueError, KeyError, TypeError):
        return None
