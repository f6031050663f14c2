"""Whether a process has its device for itself: a time that was taken beside other work is no speed.

On a CPU, what other processes took of the cores that this one may use, from Linux's own counts; on GPUs, whether other
processes compute there, from nvidia-smi. Where neither can be asked, nothing is known.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Final

__all__ = ["Watch"]

# Of the cores' time: what a system's own housekeeping stays below.
_MOST: Final = 0.1
# In /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal; guests are part of the first two.
_IDLE: Final = (3, 4)
_NUM_COUNTS: Final = 8
_STAT: Final = Path("/proc/stat")
_QUERY: Final = ("nvidia-smi", "--query-compute-apps=gpu_uuid", "--format=csv,noheader")
_QUERY_SECONDS: Final = 30


class Watch:
    """Looks at the load from its making on."""

    def __init__(self) -> None:
        self._start = _times()

    def cpu_is_own(self) -> bool | None:
        """Whether others took less than a tenth of the cores' time since; None where that is not known."""
        now = _times()
        if self._start is None or now is None:
            return None
        elapsed, busy, own = (after - before for after, before in zip(now, self._start, strict=True))
        return None if elapsed <= 0 else busy - own <= _MOST * elapsed

    @staticmethod
    def gpus_are_own(uuids: Collection[str]) -> bool | None:
        """Whether one process, which is this one, computes on each of these GPUs; None where that is not known."""
        if not uuids or shutil.which(_QUERY[0]) is None:
            return None
        try:
            answer = subprocess.run(_QUERY, capture_output=True, text=True, timeout=_QUERY_SECONDS, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return None
        found = [line.strip().removeprefix("GPU-") for line in answer.splitlines()]
        counts = [found.count(uuid.removeprefix("GPU-")) for uuid in uuids]
        # This process computes there: where it is not seen, others may be hidden too.
        return None if 0 in counts else max(counts) == 1


def _times() -> tuple[float, float, float] | None:
    """Seconds of the cores that this process may use, those that anything took, and its own with its children's."""
    try:
        lines = _STAT.read_text(encoding="ascii").splitlines()
        names = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        rows = [line.split() for line in lines]
        counts = [[int(field) for field in row[1 : 1 + _NUM_COUNTS]] for row in rows if row and row[0] in names]
        tick = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None
    if len(counts) != len(names) or any(len(row) <= max(_IDLE) for row in counts):
        return None
    whole = sum(map(sum, counts)) / tick
    idle = sum(row[place] for row in counts for place in _IDLE) / tick
    used = os.times()
    return whole, whole - idle, used.user + used.system + used.children_user + used.children_system
