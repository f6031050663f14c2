"""Whether a run still shows signs of life: its log grows, or what it says of its progress changes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lm_eval_codd.runs import progress, record

# Runs may be many, and their folders on another machine.
_LOOK_SECONDS: Final = 1.0

Clock = Callable[[], float]


class Pulse:
    """Listens for signs of life of the run in a folder: that its files change, whatever their times say.

    Args:
        folder: of the run.
        clock: seconds that never go backwards.
    """

    def __init__(self, folder: Path, clock: Clock = time.monotonic) -> None:
        self._files = (folder / record.LOG, folder / progress.FILE)
        self._clock = clock
        self._seen = self._look()
        self._looked = self._since = clock()

    def silence(self) -> float:
        """Seconds without a sign of life."""
        now = self._clock()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            seen = self._look()
            if seen != self._seen:
                self._seen, self._since = seen, now
        return now - self._since

    def _look(self) -> list[tuple[int, int, int]]:
        signs = []
        for file in self._files:
            with contextlib.suppress(OSError):
                found = file.stat()
                signs.append((found.st_ino, found.st_size, found.st_mtime_ns))
        return signs
