"""Resource limits, and which user and privileges a confined process has."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lm_eval_codd.sandbox.kernel import Kernel

__all__ = [
    "Limits",
    "become",
    "die_with_parent",
    "drop_privileges",
    "forbid_tasks",
    "limit_resources",
    "limit_tasks",
    "running_tasks",
    "spare_user",
]

# linux/prctl.h, linux/capability.h
_SET_PDEATHSIG, _SET_KEEPCAPS, _SET_NO_NEW_PRIVS = 1, 8, 38
_CAPABILITY_VERSION_3: Final = 0x20080522
# Without these, one that root started could not import from a virtual environment in somebody's private home.
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2

# Threads that a program may have, the main one and the tests' process included.
TASKS: Final = 64
_SHARED_TASKS: Final = 512

Limits = dict[str, int]


def limit_resources(limits: Limits) -> None:
    """Processor time, address space, size of a file, open files; no core dumps. Missing ones are skipped."""
    for name, value in (
        (resource.RLIMIT_CPU, limits["seconds"]),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_CORE, 0),
    ):
        _set(name, value)


def limit_tasks(counted_apart: bool, running: int | None) -> str:
    """At most `TASKS` threads. Returns what was applied.

    Args:
        counted_apart: the kernel counts this program's tasks and no others, since it has a user, or a user namespace,
            of its own. Otherwise all tasks of the user count, and programs that run side by side share what is left.
        running: `running_tasks` before any program ran; one number for all, or each bomb would make room for the next.
    """
    if counted_apart:
        _set(resource.RLIMIT_NPROC, TASKS)
        return f"{TASKS} tasks"
    if running is None:
        return "none: the kernel does not count root's tasks, or /proc does not say how many this user has"
    _set(resource.RLIMIT_NPROC, running + _SHARED_TASKS)
    return f"{_SHARED_TASKS} tasks more than the user had"


def running_tasks() -> int | None:
    """How many threads this user has; None where that cannot be known or is not counted."""
    user, total = os.geteuid(), 0
    try:
        if user == 0 and Path("/proc/self/uid_map").read_text().split()[:2] == ["0", "0"]:
            return None
        for process in Path("/proc").iterdir():
            if process.name.isdecimal():
                with suppress(OSError):  # ended meanwhile
                    if process.stat().st_uid == user:
                        total += sum(1 for _ in (process / "task").iterdir())
    except OSError:
        return None
    return total or None


def forbid_tasks() -> None:
    """No new processes and threads, where the kernel counts the user's."""
    _set(resource.RLIMIT_NPROC, 0)


def spare_user(number: int) -> int | None:
    """A user id that nobody has, for process `number`; None where root may not take another one."""
    if os.geteuid() != 0:
        return None
    try:
        extents = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    except (OSError, ValueError):
        return None
    first, count = max(((inside, count) for inside, _, count in extents), key=lambda extent: extent[1])
    if count < 1 << 16:
        return None
    # Beyond those of people and services; below 2^31, which some file systems take for the last.
    top = min(first + count, 1 << 31)
    return top - 2 - number % min(count // 2, 1 << 22)


def become(kernel: Kernel, user: int) -> None:
    """Root becomes this user, in no other's group; it keeps what `drop_privileges` will look for."""
    kernel("prctl", _SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def drop_privileges(kernel: Kernel) -> None:
    """No new privileges (which seccomp and Landlock ask for), and none of root's but to read what Landlock allows."""
    kernel("prctl", _SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    # effective, permitted and inheritable, once for the low 32 capabilities and once for the high
    sets = ctypes.create_string_buffer(24)
    kernel("capget", header, sets)
    kept = struct.unpack("6I", sets.raw)[1] & (_DAC_READ_SEARCH | (_DAC_OVERRIDE if os.geteuid() == 0 else 0))
    kernel("capset", header, struct.pack("6I", kept, kept, 0, 0, 0, 0))


def die_with_parent(kernel: Kernel) -> None:
    """SIGKILL when the parent ends. A change of user or privileges forgets it, so it comes after them."""
    kernel("prctl", _SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _set(name: int, value: int) -> None:
    _, hard = resource.getrlimit(name)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(name, (value, value))
