"""Chat templates, which are programs of whoever made the checkpoint, rendered in a process of their own with limits.

transformers renders them in Jinja's sandbox: they reach no file and no attribute of Python's. Nothing there ends an
endless loop, a power of powers or a text that is doubled sixty times, and no check of each operation would be sure. A
child of this process renders them, with a limit of time for each conversation and of memory in all; it does nothing
else, and ends with this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import struct
import sys
import time
import warnings
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A conversation takes a published template about a millisecond.
TIME_LIMIT: Final = 60.0
# Beyond what the process has when it begins.
_MEMORY: Final = 1 << 30
_LONGEST_TEXT: Final = 1 << 24
_TOO_LONG: Final = f"makes a text of more than {_LONGEST_TEXT} characters, or takes more memory than it may"
_LENGTH: Final = struct.Struct("<Q")
_PR_SET_PDEATHSIG: Final = 1


class TemplateError(ValueError):
    """A chat template failed or reached a limit; one line."""


def renderer(tokenizer: PreTrainedTokenizerBase, time_limit: float | None = None) -> Renderer:
    """The tokenizer's `apply_chat_template` with these limits: the same arguments by name, and a text."""
    return Renderer(lambda **arguments: str(tokenizer.apply_chat_template(tokenize=False, **arguments)), time_limit)


class Renderer:
    """Calls a function in a child process that is forked at the first call and kept.

    Args:
        render: (keyword arguments that JSON can hold) -> text. What it changes in the child is not seen here.
        time_limit: seconds for one call; None is `TIME_LIMIT`.
    """

    def __init__(self, render: Callable[..., str], time_limit: float | None = None) -> None:
        self._render, self._time_limit = render, TIME_LIMIT if time_limit is None else time_limit
        self._pipes: tuple[int, int] | None = None  # where to write to the child, and where to read from it
        self._end: Callable[[], object] = bool

    def __call__(self, **arguments: Any) -> str:
        """The text that `render` returns.

        Raises:
            TemplateError: it raised an error, took too long, or more memory than it may.
        """
        if self._pipes is None:
            process, *pipes = self._start()
            self._pipes = pipes[0], pipes[1]
            self._end = weakref.finalize(
                self, _end, process, *pipes
            )  # at most once: here, with this object, or at exit
        to_child, from_child = self._pipes
        try:
            _send(to_child, arguments)
            answer = _receive(from_child, time.monotonic() + self._time_limit)
        except (OSError, EOFError) as error:
            self._pipes = None
            self._end()
            is_endless = isinstance(error, TimeoutError)
            reason = f"does not end within {self._time_limit:g} s" if is_endless else "crashed"
            raise TemplateError(f"the chat template {reason}") from None
        if "error" in answer:
            raise TemplateError(f"the chat template {answer['error']}")
        return str(answer["text"])

    def _start(self) -> tuple[int, int, int]:
        requests, answers = os.pipe(), os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        with warnings.catch_warnings():
            # The child runs Jinja alone, and takes no lock that a thread of this process may hold.
            warnings.simplefilter("ignore", DeprecationWarning)
            process = os.fork()
        if process == 0:
            try:
                _confine(parent, {requests[0], answers[1]})
                _serve(self._render, requests[0], answers[1])
            finally:
                os._exit(0)
        os.close(requests[0])
        os.close(answers[1])
        return process, requests[1], answers[0]


def _confine(parent: int, kept: set[int]) -> None:
    """In the child: end with the parent, hold none of its files, take little more memory."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent ends it
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))
    with open("/proc/self/statm", encoding="ascii") as file:
        most = int(file.read().split()[0]) * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _serve(render: Callable[..., str], requests: int, answers: int) -> None:
    """In the child: answer requests until there are no more."""
    with contextlib.suppress(EOFError):
        while True:
            _send(answers, _answer(render, _receive(requests)))


def _answer(render: Callable[..., str], arguments: dict[str, Any]) -> dict[str, str]:
    try:
        text = render(**arguments)
    except (MemoryError, OverflowError):
        return {"error": _TOO_LONG}
    except RecursionError:
        return {"error": "calls itself too deeply"}
    except Exception as error:
        return {"error": f"fails ({type(error).__name__}: {' '.join(str(error)[:400].split())[:200]})"}
    return {"text": text} if len(text) <= _LONGEST_TEXT else {"error": _TOO_LONG}


def _send(file: int, message: dict[str, Any]) -> None:
    content = json.dumps(message).encode()
    view = memoryview(_LENGTH.pack(len(content)) + content)
    while view:
        view = view[os.write(file, view) :]


def _receive(file: int, deadline: float | None = None) -> dict[str, Any]:
    (length,) = _LENGTH.unpack(_read(file, _LENGTH.size, deadline))
    message: dict[str, Any] = json.loads(_read(file, length, deadline))
    return message


def _read(file: int, length: int, deadline: float | None) -> bytes:
    """Exactly so many bytes. Raises `EOFError` at the end of the file, `TimeoutError` at the deadline."""
    poll, parts, missing = select.poll(), [], length
    poll.register(file, select.POLLIN)
    while missing:
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if not poll.poll(left):
            raise TimeoutError
        part = os.read(file, min(missing, 1 << 16))
        if not part:
            raise EOFError
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _end(process: int, *files: int) -> None:
    """Kill the child, wait for it, and close what leads to it."""
    for file in files:
        with contextlib.suppress(OSError):
            os.close(file)
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
