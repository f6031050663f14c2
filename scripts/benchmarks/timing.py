"""Clocks: the best of several rounds, with functions that are compared taking turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch


def wait(device: torch.device) -> None:
    """Until the device has done all that it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def best_times(functions: Sequence[Callable[[], object]], repeats: int, device: torch.device) -> list[float]:
    """Least seconds of each function over `repeats` rounds, after one round that is not counted.

    The functions take turns, so that a busy machine hits all alike.
    """
    best = [float("inf")] * len(functions)
    for round_ in range(repeats + 1):
        for index, function in enumerate(functions):
            wait(device)
            started = time.perf_counter()
            function()
            wait(device)
            if round_:
                best[index] = min(best[index], time.perf_counter() - started)
    return best
