"""The most memory that something takes: of the device on a GPU, of the process on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_PROCESS = Path("/proc/self")


class Peak:
    """Bytes at the peak; None where the system does not tell.

    On a GPU, weights included (`max_memory_allocated`). On a CPU what was added to the process's resident set since the
    baseline, by Linux's high-water mark, which is set back at the start.
    """

    bytes: int | None = None


def resident() -> int | None:
    """Bytes of this process in memory now: a baseline, once the weights are there."""
    return _field("VmRSS") if (_PROCESS / "status").is_file() else None


@contextmanager
def peak_memory(device: torch.device, baseline: int | None) -> Iterator[Peak]:
    """Measure what happens inside."""
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device)
        return
    is_reset = _reset()
    yield peak
    if is_reset and baseline is not None:
        peak.bytes = max(0, _field("VmHWM") - baseline)


def _reset() -> bool:
    """Set the high-water mark back to what is resident now."""
    try:
        (_PROCESS / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _field(name: str) -> int:
    lines = (_PROCESS / "status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
