"""Runs one program: a process for it, one for its tests, and this one, which watches both and reports.

The warden is forked from the nursery, reads neither the program nor the tests, and is the only one who kills and reaps
its two processes, so that no number can belong to another by then. When the evaluation is gone, it ends with it.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from lm_eval_codd.sandbox import program_side, tests_side
from lm_eval_codd.sandbox.confine import Cage, confine
from lm_eval_codd.sandbox.kernel import Kernel, Unavailable
from lm_eval_codd.sandbox.limits import spare_user
from lm_eval_codd.sandbox.namespaces import FOLDER_BYTES, WORK, build_root, enter_namespaces, unmount

__all__ = ["watch"]

_READY_SECONDS: Final = 60.0
_LINE_BYTES: Final = 1 << 16
# How often a work folder on a disk is looked at.
_LOOK_SECONDS: Final = 0.05
# The nursery has a handful.
_DESCRIPTORS: Final = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is the same for all programs: what they may read, and `limits.running_tasks` before the first."""

    readable: Sequence[str]
    running: int | None


def watch(control: int, program: int, tests: int, base: str, machine: Machine) -> dict[str, Any]:
    """Run the program in one file against the tests in another.

    Args:
        control: the request comes in here; when its other end closes, nobody waits for the result any more.
        program: descriptor of a file with the program.
        tests: descriptor of a file with its tests.
        base: folder in which the work folder is made.
        machine: what it is held by.

    Returns:
        {"status", "detail", "isolation"}, or {"error"} where the program could not be run.
    """
    request = json.loads(_line(control, time.monotonic() + _READY_SECONDS) or b"{}")
    folder = tempfile.mkdtemp(dir=base)
    user = spare_user(os.getpid())
    try:
        namespaces, mounted = _separate(folder, user, machine.readable)
        own_root = mounted.startswith("tmpfs")
        cage = Cage(
            limits=request["limits"],
            root=folder if own_root else None,
            folder=WORK if own_root else folder,
            readable=machine.readable,
            user=user,
            own_user_namespace=namespaces.startswith("user"),
            running=machine.running,
        )
        if not own_root and user is not None:
            os.chown(folder, user, user)
        layers = {"namespaces": namespaces, "folder": mounted}
        return _run(control, program, tests, cage, layers, request["timeout"])
    except OSError as error:
        return {"error": error.strerror or str(error)}
    finally:
        with suppress(Unavailable):
            unmount(Kernel(), folder)
        shutil.rmtree(folder, ignore_errors=True)


def _separate(folder: str, user: int | None, readable: Sequence[str]) -> tuple[str, str]:
    """Enter namespaces and build a root on the folder, where the kernel lets: what was done, or "none: " and why."""
    try:
        kernel = Kernel()
        namespaces = enter_namespaces(kernel, as_root=user is not None)
    except Unavailable as error:
        return f"none: {error}", f"none: {error}"
    try:
        return namespaces, build_root(kernel, folder, readable, os.geteuid() if user is None else user)
    except Unavailable as error:
        return namespaces, f"none: {error}"


def _run(control: int, program: int, tests: int, cage: Cage, layers: dict[str, str], timeout: float) -> dict[str, Any]:
    asking, answering = (end.detach() for end in socket.socketpair())
    verdict, verdict_end = os.pipe()
    ready, ready_end = os.pipe()

    def test() -> None:
        _say(verdict_end, confine(cage))
        status, detail = tests_side.run(lambda: _content(tests), asking)
        _say(verdict_end, {"status": status, "detail": detail})
        # Its end would kill the program, whose own is to be seen.
        signal.pause()

    def execute() -> None:
        _say(ready_end, confine(cage))
        os.close(ready_end)
        source = _content(program)
        os.close(program)
        program_side.run(source, answering)

    running: list[int] = []
    try:
        # The tests' process first: it becomes the first of its namespace, with which all others end.
        running.append(testing := _forked(test, cage, (verdict_end, tests, asking)))
        running.append(executing := _forked(execute, cage, (ready_end, program, answering)))
        for descriptor in (asking, answering, verdict_end, ready_end, program, tests):
            os.close(descriptor)
        late = time.monotonic() + _READY_SECONDS
        held = [_line(ready, late), _line(verdict, late)]
        if not all(held):
            ending = _ending(running, testing, 1.0) or _ending(running, executing, 1.0)
            return {"error": f"not confined in {_READY_SECONDS:g} s" if ending is None else ending}
        outcome = _watched(verdict, timeout, control, None if cage.root is not None else cage.folder)
        if outcome["status"] == "crashed" and not outcome["detail"]:
            ending = _ending(running, executing, 1.0)
            outcome["detail"] = "closed its report" if ending is None else ending
        return {**outcome, "isolation": {**layers, **_weaker(*(json.loads(line or b"{}") for line in held))}}
    finally:
        for process in running:
            os.kill(process, signal.SIGKILL)
        # The first of a namespace ends only when all others in it are reaped.
        for process in reversed(running):
            os.waitpid(process, 0)


def _watched(verdict: int, timeout: float, control: int, folder: str | None) -> dict[str, str]:
    """What the tests' process said, or why it did not.

    Args:
        verdict: where it says it.
        timeout: seconds from now.
        control: see `watch`.
        folder: a work folder on a disk, which only this process keeps from growing; None where it is bounded.
    """
    end = time.monotonic() + timeout
    while True:
        until = end if folder is None else min(end, time.monotonic() + _LOOK_SECONDS)
        line = _line(verdict, until, until_closed=control)
        if line:
            return json.loads(line)
        if line is not None:
            return {"status": "crashed", "detail": "the tests' own process ended"}
        if folder is not None and _size(folder) > FOLDER_BYTES:
            return {"status": "crashed", "detail": f"its files took more than {FOLDER_BYTES >> 20} MiB"}
        if time.monotonic() >= end:
            return {"status": "timeout", "detail": f"not done after {timeout:g} s"}


def _size(folder: str) -> int:
    """What the files of a folder, which has no folders in it, take on its disk; in bytes."""
    size = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                size += entry.stat(follow_symlinks=False).st_blocks * 512
    return size


def _weaker(first: dict[str, str], second: dict[str, str]) -> dict[str, str]:
    """The layers that hold both processes: what does not hold one of them is none."""
    return {
        name: means if second[name] == means or means.startswith("none") else second[name]
        for name, means in first.items()
    }


def _forked(run: Callable[[], None], cage: Cage, kept: Sequence[int]) -> int:
    """A process that calls a function with nothing but these descriptors and an empty environment."""
    process = os.fork()
    if process:
        return process
    try:
        if cage.root is not None:
            os.chroot(cage.root)
        os.chdir(cage.folder)
        least = 3
        for descriptor in sorted(kept):
            os.closerange(least, descriptor)
            least = descriptor + 1
        os.closerange(least, _DESCRIPTORS)
        os.environ.clear()
        os.environ.update(HOME=cage.folder, TMPDIR=cage.folder, PATH=os.defpath, LANG="C.UTF-8")
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
        tempfile.tempdir = None
        random.seed()
        run()
    except BaseException:
        os._exit(1)
    os._exit(0)


def _content(descriptor: int) -> str:
    with open(descriptor, encoding="utf-8", errors="surrogatepass", newline="", closefd=False) as file:
        return file.read()


def _say(descriptor: int, what: dict[str, str]) -> None:
    os.write(descriptor, json.dumps(what).encode() + b"\n")


def _line(descriptor: int, deadline: float, until_closed: int | None = None) -> bytes | None:
    """The next line; b"" when the other side closed or wrote too much; None when late.

    Args:
        descriptor: read from, byte by byte, so that nothing behind the line is lost.
        deadline: of the monotonic clock.
        until_closed: a socket; when its other end is gone, so is this process.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if until_closed is not None:
        poll.register(until_closed, select.POLLIN)
    line = b""
    while not line.endswith(b"\n"):
        events = dict(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
        if not events:
            return None
        if descriptor in events:
            byte = os.read(descriptor, 1)
            if not byte or len(line) >= _LINE_BYTES:
                return b""
            line += byte
        elif until_closed in events:
            raise BrokenPipeError("nobody waits")
    return line


def _ending(running: list[int], process: int, wait: float) -> str | None:
    """How a process ended, in words, and reaped; None while it runs."""
    deadline = time.monotonic() + wait
    while True:
        reaped, status = os.waitpid(process, os.WNOHANG)
        if reaped:
            running.remove(process)
            code = os.waitstatus_to_exitcode(status)
            if code < 0:
                return f"ended by signal {-code} ({signal.strsignal(-code)})"
            return f"exit status {code} before the tests had run"
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.005)
