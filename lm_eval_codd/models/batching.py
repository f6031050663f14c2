"""Which requests share a batch, and what happens when a batch does not fit in memory."""

from __future__ import annotations

import gc
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
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


def plan(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Cut requests into batches with as little padding as can be, the longest prompts first.

    Padding moves bf16 logits, so requests of one length share a batch as far as they fill it; only what is left over
    is mixed, with its nearest lengths.

    Args:
        lengths: prompt tokens of each request.
        batch_size: requests in a batch, at most.

    Returns:
        Indices into `lengths`, a list a batch; each index once.
    """
    of_length = defaultdict(list)
    for index, length in enumerate(lengths):
        of_length[length].append(index)
    batches, left_over = [], []
    for _, indices in sorted(of_length.items(), reverse=True):
        num_full = len(indices) // batch_size * batch_size
        batches += _cut(indices[:num_full], batch_size)
        left_over += indices[num_full:]
    batches += _cut(left_over, batch_size)
    return sorted(batches, key=lambda batch: -lengths[batch[0]])


def in_batches(
    lengths: Sequence[int], size: BatchSize, decode: Callable[[list[int]], list[T]]
) -> Iterator[tuple[list[int], list[T]]]:
    """Decode every request, batch by batch; a batch that runs out of memory is cut and decoded again.

    Args:
        lengths: prompt tokens of each request.
        size: started, see `BatchSize.start`; halved here when a batch does not fit.
        decode: maps the indices of a batch to its results.

    Yields:
        The indices of a batch and its results.

    Raises:
        MemoryError: when a single request does not fit.
    """
    pending = list(range(len(lengths)))
    while pending:
        waiting = set(pending)
        for batch in plan([lengths[index] for index in pending], size.now):
            indices = [pending[place] for place in batch]
            results = _results_or_none(decode, indices)
            if results is None:
                if len(indices) == 1:
                    raise MemoryError(
                        f"a single request of {lengths[indices[0]]} prompt tokens does not fit in memory; use a "
                        "smaller `gen_length` or `max_length`, `dtype=bfloat16`, `device_map=auto` or a larger device"
                    )
                size.halve(len(indices))
                break
            yield indices, results
            waiting -= set(indices)
        pending = sorted(waiting)


def _results_or_none(decode: Callable[[list[int]], list[T]], indices: list[int]) -> list[T] | None:
    """The batch's results, or None when memory ran out."""
    try:
        return decode(indices)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    # Only here, with the exception gone, has its traceback let go of the batch's tensors.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine ran out of memory (CUDA, cuBLAS, MPS and the CPU all say it differently)."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def _cut(indices: list[int], size: int) -> list[list[int]]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def _free_memory() -> int:
    """Bytes of memory that are free now; 8 GiB where the system does not say."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 8 << 30
