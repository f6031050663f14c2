"""Who is next: prompts that wait for a row of the batch, and the time that each row takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lm_eval_codd.decoding.canvas import Canvas

if TYPE_CHECKING:
    import torch

    from lm_eval_codd.decoding.canvas import Drafts, Ids, Room
    from lm_eval_codd.settings import DecodingConfig


class Queue:
    """Prompts that wait for a place in the batch; `start` prepares the rows that get one.

    `room` says what of the canvas a row takes, of the length of its prompt; None: `gen_length` positions.
    """

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        repeats: Sequence[int] | None,
        batch_size: int | None,
        config: DecodingConfig,
        ids: Ids,
        device: torch.device,
        start: Callable[[Canvas], None],
        drafts: Drafts | None = None,
        room: Callable[[int], Room] | None = None,
    ) -> None:
        self._prompts = prompts
        self._repeats = [0] * len(prompts) if repeats is None else repeats
        self._batch_size = len(prompts) if batch_size is None else batch_size
        self._config, self._ids, self._device, self._prepare = config, ids, device, start
        self._drafts = drafts
        self._rooms = None if room is None or drafts is not None else [room(len(prompt)) for prompt in prompts]
        self._width = config.gen_length if drafts is None else drafts.longest
        if self._rooms is not None:
            self._width = max(one.num_positions for one in self._rooms)
        self._waiting = deque(sorted(range(len(prompts)), key=lambda index: -len(prompts[index])))

    def refill(self, canvas: Canvas | None) -> Canvas | None:
        """The canvas with new rows where there is room; None when nothing is left to do."""
        under_way = 0 if canvas is None else len(canvas)
        number = min(self._batch_size - under_way, len(self._waiting))
        if number:
            new = self._start([self._waiting.popleft() for _ in range(number)])
            return new if canvas is None or not under_way else canvas.join(new)
        return canvas if under_way else None

    def _start(self, indices: list[int]) -> Canvas:
        canvas = Canvas.from_prompts(
            [self._prompts[index] for index in indices],
            self._width,
            self._ids,
            seed=self._config.seed,
            repeats=[self._repeats[index] for index in indices],
            device=self._device,
            indices=indices,
            drafts=None if self._drafts is None else self._drafts.of(indices),
            rooms=None if self._rooms is None else [self._rooms[index] for index in indices],
        )
        self._prepare(canvas)
        return canvas


class Clock:
    """Wall time, shared equally by the rows that are under way."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self._share = 0.0
        self._started: dict[int, float] = {}

    def tick(self, indices: list[int]) -> None:
        """The rows of these indices worked since the last tick."""
        for index in indices:
            self._started.setdefault(index, self._share)
        now = time.perf_counter()
        self._share += (now - self._last) / len(indices)
        self._last = now

    def skip(self, seconds: float) -> None:
        """So long somebody else was at work."""
        self._last += seconds

    def stop(self, index: int) -> float:
        """Seconds of a row that is through."""
        return self._share - self._started.pop(index)
