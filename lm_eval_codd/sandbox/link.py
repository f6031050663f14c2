"""The line between the program's process and the tests': one asks, the other answers, and may ask back before."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from typing import Any, Final

__all__ = ["Closed", "Link"]

_LENGTH: Final = struct.Struct("!I")
MOST_BYTES: Final = 64 << 20


class Closed(Exception):
    """The other side is gone (no text), or sent what is no message."""


class Link:
    """Messages (JSON objects) over a descriptor.

    Args:
        descriptor: of a connected pair.
        answer: answers what the other side asks while this one waits.
    """

    def __init__(self, descriptor: int, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._descriptor = descriptor
        self._answer = answer
        # Bound before the program runs, which may replace what modules hold.
        self._read, self._write, self._dumps, self._loads = os.read, os.write, json.dumps, json.loads

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a question and return its answer. Raises `Closed`."""
        self.send(message)
        while True:
            received = self.receive()
            if "ask" not in received:
                return received
            self.send(self._answer(received))

    def serve(self) -> None:
        """Answer until the other side is gone."""
        while True:
            self.send(self._answer(self.receive()))

    def send(self, message: dict[str, Any]) -> None:
        """Send one message. Raises `Closed`."""
        body = self._dumps(message).encode()
        if len(body) > MOST_BYTES:
            raise ValueError(f"a value of more than {MOST_BYTES >> 20} MiB")
        pending = memoryview(_LENGTH.pack(len(body)) + body)
        try:
            while pending:
                pending = pending[self._write(self._descriptor, pending) :]
        except OSError:
            raise Closed from None

    def receive(self) -> dict[str, Any]:
        """The next message. Raises `Closed`."""
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if length > MOST_BYTES:
            raise Closed(f"sent the tests more than {MOST_BYTES >> 20} MiB at once")
        try:
            message = self._loads(self._exactly(length))
        except (ValueError, RecursionError):
            raise Closed("sent the tests what is no message") from None
        if not isinstance(message, dict):
            raise Closed("sent the tests what is no message")
        return message

    def _exactly(self, length: int) -> bytes:
        parts = []
        while length:
            try:
                part = self._read(self._descriptor, min(length, 1 << 16))
            except OSError:
                part = b""
            if not part:
                raise Closed
            parts.append(part)
            length -= len(part)
        return b"".join(parts)
