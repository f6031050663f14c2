"""Seccomp: only the listed system calls. All else fails with EPERM, and a foreign architecture's calls kill.

Three calls are told by their arguments besides those of `ALLOWED_WITH`: `clone` may start threads and no processes;
`sendto` may have no address, so that a socket reaches the other end of its pair only; `fcntl` may not set O_ASYNC.
"""

from __future__ import annotations

import ctypes
import platform
import struct
from collections.abc import Iterable
from typing import Final

from lm_eval_codd.sandbox.kernel import MACHINES, Kernel
from lm_eval_codd.sandbox.system_calls import (
    ALLOWED,
    ALLOWED_WITH,
    CLONE_THREAD,
    F_SETFL,
    LAST_KNOWN,
    O_ASYNC,
    Numbers,
)

__all__ = ["confine_system_calls"]

# linux/seccomp.h, linux/filter.h, linux/audit.h
SECCOMP_SET_MODE_FILTER: Final = 1
ALLOW, KILL_PROCESS, DENY = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS = 1, 38
LOAD, JUMP_EQUAL, JUMP_ABOVE, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
NUMBER_OFFSET, ARCH_OFFSET, ARGUMENTS_OFFSET = 0, 4, 16
X32_SYSCALLS = 0x40000000
_CLONE: Final = (56, 220)
_CLONE3: Final = (435, 435)
_SENDTO: Final = (44, 206)


def confine_system_calls(kernel: Kernel) -> str:
    """Apply the filter to this process. Returns what was applied; raises `Unavailable`."""
    program = b"".join(system_call_filter())
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    kernel("seccomp", SECCOMP_SET_MODE_FILTER, 0, header)
    return "seccomp"


def system_call_filter() -> list[bytes]:
    """The filter's instructions (struct sock_filter): a foreign architecture dies, what is not allowed fails."""
    architecture, column = MACHINES[platform.machine()]

    def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("HBBI", code, if_true, if_false, value)

    def argument(index: int, half: int = 0) -> bytes:
        return instruction(LOAD, ARGUMENTS_OFFSET + 8 * index + 4 * half)

    def when(numbers: Numbers, body: list[bytes]) -> list[bytes]:
        if (called := numbers[column]) is None:
            return []
        return [instruction(JUMP_EQUAL, called, 0, len(body)), *body]

    def one_of(values: Iterable[int]) -> list[bytes]:
        return [line for value in values for line in (instruction(JUMP_EQUAL, value, 0, 1), allow)]

    deny = instruction(RETURN, DENY | EPERM)
    missing = instruction(RETURN, DENY | ENOSYS)
    allow = instruction(RETURN, ALLOW)
    program = [
        instruction(LOAD, ARCH_OFFSET),
        instruction(JUMP_EQUAL, architecture, 1, 0),
        instruction(RETURN, KILL_PROCESS),
        instruction(LOAD, NUMBER_OFFSET),
        instruction(JUMP_ABOVE, X32_SYSCALLS - 1, 0, 1),
        deny,
        instruction(JUMP_ABOVE, LAST_KNOWN, 0, 1),
        missing,
    ]
    program += one_of(number for numbers in ALLOWED.values() if (number := numbers[column]) is not None)
    # clone3's flags lie in memory, out of the filter's sight; libc falls back to clone on ENOSYS.
    program += when(_CLONE3, [missing])
    # Threads may start, processes may not.
    program += when(_CLONE, [argument(0), instruction(JUMP_ANY_BIT, CLONE_THREAD, 0, 1), allow, deny])
    # To the other end of the pair; an address (a pointer, both halves) would be any socket of this machine.
    no_address = [
        argument(4),
        instruction(JUMP_EQUAL, 0, 0, 3),
        argument(4, 1),
        instruction(JUMP_EQUAL, 0, 0, 1),
        allow,
    ]
    program += when(_SENDTO, [*no_address, deny])
    for name, (numbers, index, values) in ALLOWED_WITH.items():
        body = [argument(index), *one_of(values)]
        if name == "fcntl":
            set_flags = [argument(2), instruction(JUMP_ANY_BIT, O_ASYNC, 1, 0), allow, deny]
            body += [instruction(JUMP_EQUAL, F_SETFL, 0, len(set_flags)), *set_flags]
        program += when(numbers, [*body, deny])
    return [*program, deny]
