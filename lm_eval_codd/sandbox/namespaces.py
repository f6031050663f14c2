"""Namespaces: a user, processes, mounts, a network and shared memory of the program's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lm_eval_codd.sandbox.kernel import Kernel, Unavailable

__all__ = ["FOLDER_BYTES", "WORK", "build_root", "enter_namespaces", "unmount"]

# linux/sched.h, linux/mount.h
_MOUNTS, _HOST_NAME, _IPC, _USER, _PROCESSES, _NETWORK = (
    *(0x00020000, 0x04000000, 0x08000000),
    *(0x10000000, 0x20000000, 0x40000000),
)
_ALL: Final = _MOUNTS | _HOST_NAME | _IPC | _PROCESSES | _NETWORK
_NOSUID, _NODEV, _BIND, _RECURSIVE, _PRIVATE = 2, 4, 1 << 12, 1 << 14, 1 << 18
_DETACH: Final = 2

# The work folder in a root of the program's own.
WORK: Final = "/program"
_ROOT_OPTIONS: Final = "size=1m,nr_inodes=1024,mode=0755"
FOLDER_BYTES: Final = 64 << 20
FOLDER_FILES: Final = 4096


def enter_namespaces(kernel: Kernel, as_root: bool) -> str:
    """New namespaces for this process (processes: for its children). Returns which; raises `Unavailable`.

    Args:
        kernel: of this process.
        as_root: the process is root and its children become a user of their own, so that they need no user namespace,
            which would take from them what they may read.
    """
    if as_root:
        kernel("unshare", _ALL)
        return "processes, mounts, network, IPC"
    user, group = os.geteuid(), os.getegid()
    kernel("unshare", _ALL | _USER)
    try:
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    except OSError as error:
        raise Unavailable(f"user namespace: {error.strerror}") from None
    return "user, processes, mounts, network, IPC"


def build_root(kernel: Kernel, root: str, readable: Sequence[str], owner: int) -> str:
    """A root of the program's own on the folder `root`, seen in this mount namespace only; to be changed into.

    It has what may be read, in its own places, and the work folder `WORK`, of bounded size and in memory; nothing else.

    Returns:
        What the work folder is. Raises `Unavailable`.
    """
    kernel("mount", b"none", b"/", None, _RECURSIVE | _PRIVATE, None)
    _memory(kernel, root, _ROOT_OPTIONS)
    for path in readable:
        if any(path.startswith(f"{other}/") for other in readable):
            continue  # comes with the other
        place = root + path
        if os.path.isdir(path):
            os.makedirs(place, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            Path(place).touch()
        kernel("mount", path.encode(), place.encode(), None, _BIND | _RECURSIVE, None)
    os.mkdir(root + WORK)
    who = "" if owner == os.geteuid() else f",uid={owner},gid={owner}"
    _memory(kernel, root + WORK, f"size={FOLDER_BYTES},nr_inodes={FOLDER_FILES},mode=0700{who}")
    return f"tmpfs of {FOLDER_BYTES >> 20} MiB"


def _memory(kernel: Kernel, folder: str, options: str) -> None:
    kernel("mount", b"tmpfs", folder.encode(), b"tmpfs", _NOSUID | _NODEV, options.encode())


def unmount(kernel: Kernel, folder: str) -> None:
    """Take the file system away, whoever still holds a file in it."""
    kernel("umount2", folder.encode(), _DETACH)
