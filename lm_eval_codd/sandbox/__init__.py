"""Runs generated programs against their tests, confined by the kernel, and decides where they cannot reach.

Each program has a process of its own and its tests another; between them only values travel (`values`). The tests'
process decides and compares, on data; the program's process never holds any of the tests, so that reading its own
memory, its frames or its garbage tells it nothing. It passes only by giving the values that the tests want.

What holds both processes, where the kernel offers it (`isolation()` says what this machine does):

* `processes`, `network`: seccomp, by a list of what is allowed;
* `files`, `reads`: Landlock; the work folder, the interpreter and its libraries, nothing else;
* `tasks`: how many threads there may be;
* `namespaces`: processes, mounts, network, IPC (and user) of its own;
* `folder`: the work folder is in memory and of bounded size, gone with the program.

Limits of memory, processor time, file size and wall clock hold everywhere, as does an empty environment.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Literal

from lm_eval_codd.catalogue import SANDBOX
from lm_eval_codd.sandbox.client import Nursery, SandboxError

__all__ = ["Outcome", "SandboxError", "is_confined", "isolation", "require", "run_program", "run_programs"]

_FILE_BYTES: Final = 16 << 20
_OPEN_FILES: Final = 64
_MAX_WORKERS: Final = 16
_TRIES: Final = 4
# Without these a program may do harm; without the others it has less between it and the kernel.
_ESSENTIAL: Final = ("files", "processes", "network")

Status = Literal["passed", "failed", "timeout", "crashed"]

_starting = threading.Lock()
_nursery: Nursery | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended.

    Attributes:
        status: `passed` (program and tests ran to their end), `failed` (an exception, a syntax error and a failed
            assertion included), `timeout`, or `crashed` (the process ended without a report: an early exit, a signal,
            a limit of the kernel).
        detail: one line: the exception, the signal or the exit status; empty when it passed.
    """

    status: Status
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether program and tests ran to their end."""
        return self.status == "passed"


def run_program(code: str, tests: str = "", *, timeout: float = 3.0, memory_mb: int = 2048) -> Outcome:
    """Run `code`, and `tests` over it from another process, both confined.

    `__name__` is not `"__main__"` there, strings hash the same in every run, and the interpreter's packages (numpy)
    can be imported. Names that the tests read and do not define are the program's.

    Args:
        code: Python source.
        tests: Python source that raises when the program is wrong, usually assertions.
        timeout: wall-clock seconds, counted from when the processes are ready.
        memory_mb: address space of each process in MiB, the interpreter's own included.

    Raises:
        SandboxError: the processes could not be started or confined; one line says why.
    """
    result = _run(code, tests, timeout, memory_mb)
    weaker = {name for name, means in isolation().items() if result["isolation"].get(name) != means}
    if weaker:
        raise SandboxError(f"a program ran without what confined the others: {', '.join(sorted(weaker))}; run it again")
    # A lone surrogate could be written to no file.
    return Outcome(result["status"], result["detail"].encode(errors="replace").decode())


def run_programs(
    programs: Sequence[tuple[str, str]], *, timeout: float = 3.0, memory_mb: int = 2048, workers: int | None = None
) -> list[Outcome]:
    """`run_program` for many pairs of code and tests, in order of `programs`.

    Args:
        programs: pairs of code and tests.
        timeout: seconds for each.
        memory_mb: MiB for each.
        workers: how many run at once. None: the processors of this process shared among the ranks of this machine, so
            that each program has one to itself and the clock treats all alike; at most 16.
    """
    if workers is None:
        workers = min(_MAX_WORKERS, max(1, _processors() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda pair: run_program(*pair, timeout=timeout, memory_mb=memory_mb), programs))


@functools.cache
def isolation() -> dict[str, str]:
    """What confines programs on this machine, by layer: `none: ` and the reason where nothing does.

    Raises:
        SandboxError: no program can be run at all.
    """
    return dict(_run("", "", timeout=20.0, memory_mb=2048)["isolation"])


def is_confined() -> bool:
    """Whether this machine's kernel confines a program's files, processes and network."""
    return not any(isolation().get(layer, "").startswith("none") for layer in _ESSENTIAL)


def require() -> None:
    """Hold to what the environment variable CODD_SANDBOX asks for: `strict` wants every layer.

    Raises:
        SandboxError: a layer is missing, or the variable has another value.
    """
    wanted = os.environ.get(SANDBOX, "")
    if wanted not in ("", "strict"):
        raise SandboxError(f"`{SANDBOX}={wanted}`; the only value is strict, unset it to take what the kernel offers")
    missing = [f"{layer} ({means[6:]})" for layer, means in isolation().items() if means.startswith("none")]
    if wanted and missing:
        raise SandboxError(
            f"`{SANDBOX}=strict`, but this machine does not confine {', '.join(missing)}; unset it to run with the rest"
        )


def _run(code: str, tests: str, timeout: float, memory_mb: int) -> dict[str, Any]:
    """One program's result; tried again while the machine has no room for its processes."""
    limits = {
        # Behind the clock, should the warden be gone by then.
        "seconds": int(timeout) + 2,
        "memory_bytes": memory_mb << 20,
        "file_bytes": _FILE_BYTES,
        "open_files": _OPEN_FILES,
    }
    why = ""
    for attempt in range(_TRIES):
        time.sleep(attempt**2 * 0.5)
        result = _current().run(code, tests, timeout, limits)
        if "error" not in result:
            return result
        why = result["error"]
    raise SandboxError(
        f"cannot start a program's processes: {why} (tried {_TRIES} times, memory limit {memory_mb} MiB)"
    )


def _current() -> Nursery:
    """The nursery of this process; a new one where there is none, or none that serves."""
    global _nursery
    with _starting:
        if _nursery is None or not _nursery.serves:
            if _nursery is not None:
                _nursery.close()
            _nursery = Nursery()
        return _nursery


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
