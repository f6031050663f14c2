"""System calls that Python does not offer, by name."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Mapping
from typing import Final

__all__ = ["MACHINES", "Kernel", "Unavailable"]

# machine -> (audit architecture of linux/audit.h, index of its column of numbers)
MACHINES: Final[Mapping[str, tuple[int, int]]] = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_NUMBERS: Final[Mapping[str, tuple[int, int]]] = {
    "prctl": (157, 167),
    "capget": (125, 90),
    "capset": (126, 91),
    "mount": (165, 40),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "seccomp": (317, 277),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
}


class Unavailable(Exception):
    """A confinement that this kernel does not offer; the message says why."""


class Kernel:
    """Calls by name. They raise `Unavailable` when the kernel, or a filter around this process, refuses."""

    def __init__(self) -> None:
        machine = platform.machine()
        if sys.platform != "linux" or machine not in MACHINES:
            raise Unavailable(f"{sys.platform} on {machine} is not supported")
        self._column = MACHINES[machine][1]
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long

    def __call__(self, name: str, *arguments: int | bytes | ctypes.Array | None) -> int:
        """The call's result."""
        # Integers as longs: a register's upper half is not cleared for an int.
        passed = (ctypes.c_long(value) if isinstance(value, int) else value for value in arguments)
        result = self._syscall(ctypes.c_long(_NUMBERS[name][self._column]), *passed)
        if result < 0:
            raise Unavailable(f"{name}: {os.strerror(ctypes.get_errno())}")
        return result
