"""A lock a run's folder, so that two launchers on one output folder never work on the same run."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FILE: Final = ".lock"

_UNSUPPORTED: Final = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class Holder:
    """Who has a lock, as far as its file says."""

    host: str | None = None
    pid: int | None = None
    since: str | None = None

    def __str__(self) -> str:
        if self.pid is None:
            return "another process"
        who = f"process {self.pid} on {self.host} since {self.since}"
        if self.host == platform.node() and not _is_alive(self.pid):
            # The run has the lock as well: it outlives a launcher that was killed.
            return f"a run whose launcher ({who}) is gone"
        return who


class Lock:
    """A lock that is held. The kernel gives it up when the last process that has `handle` open is gone.

    Attributes:
        handle: for the child that works in the folder, which then holds the lock too.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self._path = path
        self.handle = handle

    def release(self) -> None:
        """Give the lock up, for everyone who has it."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self.handle)


def take(folder: Path, since: str) -> Lock | Holder:
    """Lock a folder, which is made when it is not there; returns who holds it when that is someone else.

    Args:
        folder: of a run.
        since: the time, for others who want the lock.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        with contextlib.ExitStack() as closing:
            closing.callback(os.close, handle)
            if not _lock(handle):
                return _read(handle)
            # Whoever held it has removed the file, and the name may stand for another one now.
            if _is_at(handle, path):
                _write(handle, {"host": platform.node(), "pid": os.getpid(), "since": since})
                closing.pop_all()
                return Lock(path, handle)


def is_supported(folder: Path) -> bool:
    """Whether the file system of a folder has locks; without them `take` always succeeds."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _UNSUPPORTED
    finally:
        os.close(handle)
    return True


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _write(handle: int, holder: dict[str, Any]) -> None:
    # A full disk costs others the holder's name, not us the lock.
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)


def _read(handle: int) -> Holder:
    try:
        written = json.loads(os.pread(handle, 4096, 0))
        return Holder(str(written["host"]), int(written["pid"]), str(written["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Holder()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
