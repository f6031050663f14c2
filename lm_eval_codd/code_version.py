"""Which code made an answer."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).parent
_ROOMS: Final = ("backbones", "circuits", "decoding")


@cache
def code_version() -> str:
    """A hash of the source of every module that turns prompts and settings into tokens.

    A number raised by hand would be forgotten by whoever tries a change, and old answers would pass for new ones. The
    price is that a changed comment counts as well.
    """
    digest = hashlib.sha256()
    paths = [path for room in _ROOMS for path in sorted((_PACKAGE / room).glob("*.py"))]
    for path in (_PACKAGE / "settings.py", *paths):
        digest.update(f"{path.relative_to(_PACKAGE).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
