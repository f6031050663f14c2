"""This process's side of the nursery: starts it, hands it programs and waits for how they end."""

from __future__ import annotations

import atexit
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

__all__ = ["Nursery", "SandboxError"]

_PACKAGE: Final = str(Path(__file__).parents[2])
_START: Final = (
    "import sys; sys.path.append(sys.argv[2]); from lm_eval_codd.sandbox.nursery import main; "
    "sys.path.pop(); main(int(sys.argv[1]))"
)
# Beyond a program's own time: two processes start, and the machine may be busy.
_SLACK_SECONDS: Final = 150.0


class SandboxError(RuntimeError):
    """The sandbox itself did not work; this says nothing about the program."""


class Nursery:
    """A process that runs programs, any number at once. It ends with this one."""

    def __init__(self) -> None:
        self.interpreter, self.owner = sys.executable, os.getpid()
        self._sending = threading.Lock()
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-s", "-B", "-c", _START, str(theirs.fileno()), _PACKAGE],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    # The order of a set must not decide a score.
                    env={
                        **{"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"},
                        **{"TMPDIR": tempfile.gettempdir(), **_libraries()},
                    },
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except OSError as error:
                self._socket.close()
                raise SandboxError(f"cannot start `{sys.executable}`: {error}") from error
        atexit.register(self.close)

    def close(self) -> None:
        """Let it end; programs that run end too."""
        atexit.unregister(self.close)
        self._socket.close()
        if self.owner == os.getpid():
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(5.0)

    @property
    def serves(self) -> bool:
        """Whether it runs, for this process and with this interpreter."""
        alive = self.owner == os.getpid() and self._process.poll() is None
        return alive and self.interpreter == sys.executable

    def run(self, code: str, tests: str, timeout: float, limits: dict[str, int]) -> dict[str, Any]:
        """Run one program. Returns what `warden.watch` says; raises `SandboxError` where it says nothing."""
        ours, theirs = socket.socketpair()
        with ours, _file(code) as program, _file(tests) as expected:
            with theirs:
                try:
                    with self._sending:
                        handed = [theirs.fileno(), program.fileno(), expected.fileno()]
                        socket.send_fds(self._socket, [b"p"], handed)
                    ours.sendall(json.dumps({"timeout": timeout, "limits": limits}).encode() + b"\n")
                except OSError:
                    raise SandboxError(self._ending()) from None
            answer = _read_line(ours, timeout + _SLACK_SECONDS)
        if not answer:
            raise SandboxError(self._ending())
        return json.loads(answer)

    def _ending(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        ended = self._process.poll()
        if ended is None:
            return "the sandbox gave no answer; the machine may have too little memory or too many processes"
        return f"the sandbox's interpreter `{self.interpreter}` did not start or ended (exit status {ended})"


def _libraries() -> dict[str, str]:
    """Where the interpreter itself may need to find its libraries."""
    return {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}


def _file(text: str) -> IO[bytes]:
    """A file without a name that holds a text."""
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("text"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115  # the caller closes it
    file.write(text.encode("utf-8", "surrogatepass"))
    file.seek(0)
    return file


def _read_line(connection: socket.socket, timeout: float) -> bytes:
    deadline = time.monotonic() + timeout
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    received = b""
    while not received.endswith(b"\n"):
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return b""
        try:
            part = connection.recv(1 << 16)
        except ConnectionError:
            return b""
        if not part:
            return b""
        received += part
    return received
