"""The one way in which the launcher says that nothing was started."""

from __future__ import annotations

from collections.abc import Sequence


class NotStarted(Exception):
    """No run was started: `lines` say what is wrong, a line each."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = tuple(lines)
