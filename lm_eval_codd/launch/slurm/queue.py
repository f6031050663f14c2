"""What Slurm says of an array's tasks: squeue of those that it has still to do, scontrol of those just over.

Neither needs the accounting that sacct does, which not every site has.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from typing import Final

_SECONDS: Final = 60
# The number of an array, a task's index in it (N/A where it is a single job) and its state.
_FORMAT: Final = "%F %K %T"
_WAITING: Final = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SUSPENDED", "STOPPED", "RESIZING")

States = dict[str, dict[int, str]]


def states() -> States | None:
    """The user's tasks in the queue: a state by index, by the number of the array; None when Slurm does not answer."""
    answer = _ask("squeue", "--me", "--noheader", "--array", f"--format={_FORMAT}")
    if answer is None:
        return None
    found: States = {}
    for line in answer.splitlines():
        job, index, state = line.split(None, 2)
        found.setdefault(job, {})[int(index) if index.isdecimal() else 0] = state
    return found


def is_waiting(state: str) -> bool:
    """Whether a task in this state executes nothing yet, or just now."""
    return state in _WAITING


def ended_as(job: str, index: int) -> str | None:
    """The state that a task ended in, such as CANCELLED, with its reason; None once Slurm has forgotten it."""
    for name in (f"{job}_{index}", job):
        answer = _ask("scontrol", "show", "job", "--oneliner", name)
        for line in (answer or "").splitlines():
            if name == job and re.search(r"\bArrayTaskId=", line):
                continue
            state = re.search(r"\bJobState=(\S+)", line)
            reason = re.search(r"\bReason=(\S+)", line)
            if state is not None:
                why = "" if reason is None or reason[1] in ("None", "(null)") else f" ({reason[1]})"
                return f"{state[1]}{why}"
    return None


def max_array_size() -> int | None:
    """One more than the largest index of a task; None where Slurm does not say."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config") or "", re.MULTILINE)
    return None if found is None else int(found[1])


def _ask(*command: str) -> str | None:
    return _output(command)


def _output(command: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
