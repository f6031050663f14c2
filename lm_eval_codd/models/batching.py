"""How many requests share a batch, and what happens when they do not fit in memory."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto
from typing import Final, TypeVar

import torch

from lm_eval_codd.models.arguments import whole_number

eval_logger = logging.getLogger("lm_eval.codd")

T = TypeVar("T")

LARGEST_AUTO_GPU: Final = 64  # what lm-eval's other models try first
LARGEST_AUTO_CPU: Final = 16
_OUT_OF_MEMORY: Final = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


class BatchSize:
    """How many requests share a batch; halved when they do not fit.

    Args:
        asked: a whole number, `auto`, or `auto:N` (lm-eval's spelling; N is how often to try again with more, and is
            not read: a batch that fits the longest prompts comes first and fits the rest).
        largest: `max_batch_size`, where `auto` starts.

    Raises:
        ValueError: for anything else.
    """

    def __init__(self, asked: int | str = 1, largest: int | None = None) -> None:
        self.auto = str(asked).partition(":")[0] == "auto"
        self.largest = None if largest is None else whole_number("max_batch_size", largest)
        self.now = None if self.auto else whole_number("batch_size", asked, instead=", or `auto`")

    def start(self, device: torch.device, row_bytes: int) -> int:
        """The size to begin with; `row_bytes` is a guess at what one request needs, read by `auto` on a CPU.

        On a GPU `auto` starts high and lets the longest prompts, which come first, find the size that fits. A CPU
        swaps or is killed instead of saying so, and stays below half of the memory that is free.
        """
        if self.now is None:
            self.now = self.largest or (LARGEST_AUTO_CPU if device.type == "cpu" else LARGEST_AUTO_GPU)
            if device.type == "cpu":
                self.now = max(1, min(self.now, _free_memory() // 2 // row_bytes))
            eval_logger.info("batch_size=auto starts at %d", self.now)
        return self.now

    def halve(self, number_failed: int) -> None:
        """Make room after a batch of `number_failed` requests did not fit."""
        self.now = max(1, number_failed // 2)
        eval_logger.warning(
            "A batch of %d requests does not fit in memory; going on with %d at a time. The answers stay the same.",
            number_failed,
            self.now,
        )


def within_memory(
    lengths: Sequence[int], size: BatchSize, decode: Callable[[list[int], int], Iterator[tuple[int, T]]]
) -> Iterator[tuple[int, T]]:
    """Decode every request; where memory runs out, what is not done yet is decoded again with fewer at a time.

    Args:
        lengths: prompt tokens of each request.
        size: started, see `BatchSize.start`; halved here when a batch does not fit.
        decode: from indices of requests and how many may be under way at once to results, each with its place among
            these indices.

    Yields:
        The index of each request and its result, as they come.

    Raises:
        MemoryError: when a single request does not fit.
    """
    waiting = list(range(len(lengths)))
    while waiting:
        assert size.now is not None  # it is started
        results = decode(waiting, size.now)
        done: set[int] = set()
        while not isinstance(item := _next(results), _Over):
            place, result = item
            done.add(waiting[place])
            yield waiting[place], result
        waiting = [index for index in waiting if index not in done]
        if item is _Over.DONE:
            return
        del results
        _make_room()
        under_way = min(size.now, len(waiting))
        if under_way == 1:
            raise MemoryError(
                f"a single request of {max(lengths[index] for index in waiting)} prompt tokens does not fit in memory; "
                "use a smaller `gen_length` or `max_length`, `dtype=bfloat16`, `device_map=auto` or a larger device"
            )
        size.halve(under_way)


class _Over(Enum):
    """Why there is no further result."""

    DONE = auto()
    OUT_OF_ROOM = auto()


def _next(results: Iterator[T]) -> T | _Over:
    """The next result, or why there is none."""
    try:
        return next(results, _Over.DONE)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    return _Over.OUT_OF_ROOM


def _make_room() -> None:
    """Only once the exception is gone has its traceback let go of the batch's tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine ran out of memory (CUDA, cuBLAS, MPS and the CPU all say it differently)."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def _free_memory() -> int:
    """Bytes of memory that are free now; 8 GiB where the system does not say."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 8 << 30
