"""What a disk says when it takes nothing more, in words that name it and say what to do. Imports nothing heavy."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Final

__all__ = ["explained", "full_disk"]

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN: Final = (errno.EACCES, errno.EPERM)
_FAILING: Final = (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO)
# Less than this is no room for a record or the next lines of a log.
_NO_ROOM_BYTES: Final = 16 * 1024


def explained(error: OSError, path: str | os.PathLike) -> str:
    """Why the file or folder at `path` cannot be written or read, the disk that it is on, and what to do."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return f"{reason}: {_room(Path(path))}; make room there"
    if error.errno == errno.EROFS:
        return f"{reason}: the disk at {_mount(Path(path))} takes no files; give a folder on another"
    if error.errno in _FORBIDDEN:
        return f"{reason}: {_owner(Path(path))}; give a folder of your own"
    if error.errno in _FAILING:
        return f"{reason}: the disk at {_mount(Path(path))} fails; look at it, or give a folder on another"
    return reason


def full_disk(path: Path) -> str:
    """That the disk of a file or folder is full, in words that name it; nothing while it has room."""
    try:
        free = shutil.disk_usage(_existing(path)).free
    except OSError:
        return ""
    return f"{_room(path)}; make room there" if free < _NO_ROOM_BYTES else ""


def _room(path: Path) -> str:
    mount = _mount(path)
    try:
        usage = shutil.disk_usage(mount)
    except OSError:
        return f"the disk at {mount} is full"
    return f"the disk at {mount} is full, or its quota used up ({_size(usage.free)} of {_size(usage.total)} free)"


def _size(number: int) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number} {unit}"
        number //= 1024
    return f"{number} TiB"


def _owner(path: Path) -> str:
    there = _existing(path)
    try:
        return f"{there} belongs to {there.owner()}"
    except (OSError, KeyError):
        return f"{there} belongs to someone else"


def _mount(path: Path) -> Path:
    there = _existing(path)
    return next(folder for folder in (there, *there.parents) if os.path.ismount(folder) or folder == folder.parent)


def _existing(path: Path) -> Path:
    """The path, or the nearest of its folders that is there."""
    whole = Path(os.path.realpath(path))
    return next(place for place in (whole, *whole.parents) if os.path.exists(place) or place == place.parent)
