"""Landlock: what a confined process may read and write, and that it signals and connects to nothing outside."""

from __future__ import annotations

import os
import struct
import sys
import sysconfig
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lm_eval_codd.sandbox.kernel import Kernel

__all__ = ["confine_files", "readable_paths"]

# linux/landlock.h
_VERSION: Final = 1
_RULE_PATH: Final = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_FILE = (1 << bit for bit in (0, 1, 2, 3, 5, 8))
_ALL_FIRST: Final = (1 << 13) - 1
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_BIND_AND_CONNECT_TCP: Final = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS: Final = 0b11
_TRUNCATE_SINCE, _TCP_SINCE, _IOCTL_SINCE, _SCOPES_SINCE = 3, 4, 5, 6
# What applies to a file; the kernel takes no right of a folder for one.
_OF_A_FILE: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE

_LIBRARIES: Final = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib")
_DATA: Final = (
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types", "/usr/share/zoneinfo"),
    *("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"),
    *("/sys/devices/system/cpu/online", "/sys/devices/system/cpu/possible"),
)


def readable_paths() -> list[str]:
    """What a program may read besides its own folder: the interpreter, its packages and the system's libraries."""
    scheme = sysconfig.get_paths()
    own = [scheme[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    # The base interpreter's own folders, of a virtual environment too, and where its shared library lies.
    own += [sysconfig.get_config_var("LIBDIR") or "", os.path.dirname(os.path.realpath(os.__file__))]
    own += [path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")]
    # A Python that came as one folder (conda, pyenv): the libraries beside it.
    if sys.base_prefix not in ("/", "/usr", "/usr/local"):
        own.append(os.path.join(sys.base_prefix, "lib"))
    own += [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if os.path.isabs(path)]
    return [path for path in dict.fromkeys([*own, *_LIBRARIES, *_DATA]) if os.path.exists(path)]


def confine_files(kernel: Kernel, folder: str, readable: Iterable[str]) -> str:
    """Reads of `readable` and `folder`, writes inside of `folder` and to /dev/null, nothing else.

    Folders are not made even there: a tree a thousand deep could not be removed. Nothing may be executed.

    Returns:
        What was applied, with the version that the kernel speaks. Raises `Unavailable`.
    """
    version = kernel("landlock_create_ruleset", None, 0, _VERSION)
    later = (_TRUNCATE if version >= _TRUNCATE_SINCE else 0) | (_IOCTL_DEVICE if version >= _IOCTL_SINCE else 0)
    handled = _ALL_FIRST | later
    attributes = struct.pack("Q", handled)
    if version >= _TCP_SINCE:
        attributes += struct.pack("Q", _BIND_AND_CONNECT_TCP)
    if version >= _SCOPES_SINCE:
        attributes += struct.pack("Q", _ABSTRACT_SOCKETS_AND_SIGNALS)
    ruleset = kernel("landlock_create_ruleset", attributes, len(attributes), 0)
    own = _READ_FILE | _READ_DIR | _WRITE_FILE | _REMOVE_FILE | _MAKE_FILE | (later & _TRUNCATE)
    rules = {**dict.fromkeys(readable, _READ_FILE | _READ_DIR), folder: own, "/dev/null": _READ_FILE | _WRITE_FILE}
    for path, allowed in rules.items():
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        kept = allowed if os.path.isdir(path) else allowed & _OF_A_FILE
        kernel("landlock_add_rule", ruleset, _RULE_PATH, struct.pack("=Qi", kept, descriptor), 0)
        os.close(descriptor)
    kernel("landlock_restrict_self", ruleset, 0)
    os.close(ruleset)
    return f"landlock {version}"
