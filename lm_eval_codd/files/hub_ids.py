"""How the hub's repositories are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_REVISION: Final = re.compile(r"[\w./-]+")
# Repositories that papers and code call by a name from before the hub had owners.
_OLD_NAMES: Final[Mapping[str, str]] = {
    **{name: f"openai-community/{name}" for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")},
    **{name: f"google-bert/{name}" for name in ("bert-base-uncased", "bert-base-cased")},
}


def is_hub_id(text: str) -> bool:
    """Whether a text is written as the hub writes its repositories, `owner/name`."""
    return _HUB_ID.fullmatch(text) is not None


def is_pinned_hub_id(text: str) -> bool:
    """Whether it is a hub id with a branch, tag or commit, `owner/name@revision`."""
    name, at, revision = text.partition("@")
    return bool(at) and is_hub_id(name) and _REVISION.fullmatch(revision) is not None


def with_owner(text: str) -> str:
    """`openai-community/gpt2` for `gpt2`, unless a folder here is called so; all else as it is."""
    return text if Path(text).is_dir() else _OLD_NAMES.get(text, text)
