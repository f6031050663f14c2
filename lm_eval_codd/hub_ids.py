"""How the hub's repositories are written."""

from __future__ import annotations

import re
from typing import Final

_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_REVISION: Final = re.compile(r"[\w./-]+")


def is_hub_id(text: str) -> bool:
    """Whether a text is written as the hub writes its repositories, `owner/name`."""
    return _HUB_ID.fullmatch(text) is not None


def is_pinned_hub_id(text: str) -> bool:
    """Whether it is a hub id with a branch, tag or commit, `owner/name@revision`."""
    name, at, revision = text.partition("@")
    return bool(at) and is_hub_id(name) and _REVISION.fullmatch(revision) is not None
