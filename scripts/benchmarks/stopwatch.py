"""Wall time by part of the work, where parts call each other."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

REST: Final = "rest"


class Stopwatch:
    """Seconds by part: what a part calls that is a part itself counts there, and what is in no part is the `REST`.

    So the parts add up to the whole. One entry costs about a microsecond.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._parts: list[str] = []
        self._since = 0.0

    @contextmanager
    def running(self) -> Iterator[Stopwatch]:
        """The whole that is measured, and the patches made in it undone at its end."""
        self._patched: list[tuple[Any, str, Any]] = []
        try:
            with self.part(REST):
                yield self
        finally:
            for owner, name, value in reversed(self._patched):
                setattr(owner, name, value)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens inside as part `name`."""
        self._turn()
        self._parts.append(name)
        try:
            yield
        finally:
            self._turn()
            self._parts.pop()

    def watch(self, part: str, owner: Any, *names: str) -> None:
        """Count calls of the functions `names` of a module or class as `part`, until the end of `running`."""
        for name in names:
            self.replace(owner, name, self._watched(getattr(owner, name), part))

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute until the end of `running`."""
        self._patched.append((owner, name, vars(owner)[name]))
        setattr(owner, name, value)

    def settle(self) -> None:
        """Have all `seconds` there, once everything was measured."""

    def _watched(self, function: Callable, part: str) -> Callable:
        @functools.wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            with self.part(part):
                return function(*args, **kwargs)

        return watched

    def _turn(self) -> None:
        now = time.perf_counter()
        if self._parts:
            self.seconds[self._parts[-1]] += now - self._since
        self._since = now
