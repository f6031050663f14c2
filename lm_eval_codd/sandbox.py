"""Runs generated programs against their tests: each in a process of its own, confined by the kernel.

What a program cannot do, where the kernel offers it (Linux on x86-64 and ARM64; `isolation()` says what this machine
does): write outside a temporary folder, which is removed afterwards; open a socket; start processes or signal others;
outlive its time; exceed its memory; see this process's environment. Its output is discarded unread, so that no amount
of it matters. What it can do is read the files that this user can read, and, by inspecting the interpreter it runs in,
find the token that reports success: the sandbox keeps accidents and malice from doing harm, it does not make a score
proof against a program written to forge it. Leaving early (`sys.exit(0)`, `os._exit(0)`), printing, or replacing
builtins does not forge it.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

__all__ = ["Outcome", "SandboxError", "is_confined", "isolation", "run_program", "run_programs"]

_CHILD: Final = Path(__file__).with_name("_sandbox_child.py")
_START_SECONDS: Final = 60.0
_FILE_BYTES: Final = 16 << 20
_OPEN_FILES: Final = 64
_REPORT_BYTES: Final = 1 << 16
_MAX_WORKERS: Final = 16

Status = Literal["passed", "failed", "timeout", "crashed"]


class SandboxError(RuntimeError):
    """The sandbox itself did not work; this says nothing about the program."""


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
    """Run `code`, then `tests` in the same namespace, in a fresh confined interpreter.

    `__name__` is not `"__main__"` there, strings hash the same in every run, and the interpreter's packages (numpy)
    can be imported.

    Args:
        code: Python source.
        tests: Python source that raises when the program is wrong, usually assertions.
        timeout: wall-clock seconds, counted from when the interpreter is ready.
        memory_mb: address space of the process in MiB, the interpreter's own included.

    Raises:
        SandboxError: the process could not be started or confined; one line says why.
    """
    with _started(code, tests, timeout=timeout, memory_mb=memory_mb) as (child, report, token):
        line = report.line(timeout)
        if line is None:
            return Outcome("timeout", f"not done after {timeout:g} s")
        if line.startswith(f"{token} "):
            status, _, detail = line.removeprefix(f"{token} ").partition(" ")
            return Outcome("passed" if status == "passed" else "failed", detail)
        with suppress(subprocess.TimeoutExpired):
            child.wait(1.0)
        return Outcome("crashed", _ending(child.poll()))


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
    """What confines a program's files, processes and network on this machine: `none: ` and the reason if nothing does.

    Raises:
        SandboxError: no program can be run at all.
    """
    with _started("", "", timeout=1.0, memory_mb=2048) as (_, report, _):
        return dict(report.isolation)


def is_confined() -> bool:
    """Whether this machine's kernel confines a program's files, processes and network."""
    return not any(means.startswith("none") for means in isolation().values())


class _Report:
    """The lines a child writes, read with a deadline and a limit."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._pending = b""
        self.isolation: dict[str, str] = {}

    def line(self, timeout: float) -> str | None:
        """The next line without its end; "" when the child closed its side or wrote too much; None when late."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                return None
            chunk = os.read(self._descriptor, 4096)
            self._pending += chunk
            if not chunk or len(self._pending) > _REPORT_BYTES:
                return ""
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode(errors="replace")


@contextmanager
def _started(
    code: str, tests: str, *, timeout: float, memory_mb: int
) -> Iterator[tuple[subprocess.Popen[bytes], _Report, str]]:
    """A child that has confined itself and is about to run the program; it and its folder are gone afterwards."""
    token = secrets.token_hex(16)
    limits = {
        # Behind the clock, should this process be gone by then.
        "seconds": int(timeout) + 2,
        "memory_bytes": memory_mb << 20,
        "file_bytes": _FILE_BYTES,
        "open_files": _OPEN_FILES,
    }
    request = json.dumps({"token": token, "code": code, "tests": tests, "limits": limits}).encode()
    with tempfile.TemporaryDirectory(prefix="sandbox-", ignore_cleanup_errors=True) as folder:
        readable, writable = os.pipe()
        try:
            child = subprocess.Popen(
                [sys.executable, "-s", "-B", str(_CHILD), str(writable)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env=_environment(folder),
                pass_fds=(writable,),
                start_new_session=True,
            )
        except OSError as error:
            os.close(readable)
            raise SandboxError(f"cannot start `{sys.executable}`: {error}") from error
        finally:
            os.close(writable)
        try:
            assert child.stdin is not None  # a pipe, as asked for
            with suppress(BrokenPipeError), child.stdin:
                child.stdin.write(request)
            report = _Report(readable)
            first = report.line(_START_SECONDS)
            if not first:
                ending = f"not ready after {_START_SECONDS:g} s" if first is None else _ending(child.wait())
                raise SandboxError(f"the sandbox's interpreter did not start (memory limit {memory_mb} MiB): {ending}")
            report.isolation.update(json.loads(first))
            yield child, report, token
        finally:
            # The group first, while the child is not yet reaped and its number cannot belong to another.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.kill()
            child.wait()
            os.close(readable)


def _environment(folder: str) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "HOME": folder,
        "TMPDIR": folder,
        "LANG": "C.UTF-8",
        # The order of a set must not decide a score.
        "PYTHONHASHSEED": "0",
        # A thread pool for every processor would eat the address space.
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    }


def _ending(returncode: int | None) -> str:
    if returncode is None:
        return "closed its report"
    if returncode < 0:
        return f"ended by signal {-returncode} ({signal.strsignal(-returncode)})"
    return f"exit status {returncode} before the tests had run"


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
