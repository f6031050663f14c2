"""The process that programs' processes are forked from: a warm interpreter, so that none has to start one.

Started by `lm_eval_codd.sandbox.client` with a socket, over which it gets three descriptors a program. It reads none of
them, so that no process forked later has ever seen another program, nor any tests. It ends when its socket closes.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from typing import Final

from lm_eval_codd.sandbox.landlock import readable_paths
from lm_eval_codd.sandbox.limits import running_tasks
from lm_eval_codd.sandbox.warden import Machine, watch

__all__ = ["main"]

# What programs import most: imported once.
_WARM: Final = (
    *("bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "hashlib", "heapq"),
    *("itertools", "json", "math", "operator", "random", "re", "statistics", "string", "sys", "time", "typing"),
)


def main(descriptor: int) -> None:
    """Fork a warden for each program, until nobody asks any more at the socket."""
    sys.path[:] = [path for path in sys.path if path]
    sys.argv[:] = [""]
    for name in _WARM:
        __import__(name)
    machine = Machine(readable=readable_paths(), running=running_tasks())
    base = tempfile.mkdtemp(prefix="sandbox-")
    os.chmod(base, 0o711)  # another user's programs reach their folder through it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()
    asked = socket.socket(fileno=descriptor)
    try:
        while True:
            try:
                _, given, _, _ = socket.recv_fds(asked, 1, 3)
            except OSError:
                break
            if len(given) != 3:
                break
            _fork(asked, given, base, machine)
            for end in given:
                os.close(end)
    finally:
        # Since their ends are ignored, this waits for all wardens, who see that nobody waits for them.
        with suppress(ChildProcessError):
            os.wait()
        shutil.rmtree(base, ignore_errors=True)


def _fork(asked: socket.socket, given: list[int], base: str, machine: Machine) -> None:
    control = given[0]
    try:
        if os.fork():
            return
    except OSError as error:
        _reply(control, {"error": f"fork: {error.strerror}"})
        return
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        asked.close()
        _reply(control, watch(control, given[1], given[2], base, machine))
    finally:
        os._exit(0)


def _reply(control: int, result: dict) -> None:
    with suppress(OSError):
        os.write(control, json.dumps(result).encode() + b"\n")
