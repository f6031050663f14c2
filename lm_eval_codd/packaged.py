"""The checkpoints and circuits that come with the package, by the names that stand for them where a folder may."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["CHECKPOINTS", "CIRCUITS"]

_DEMO: Final = Path(__file__).parent / "demo"

CHECKPOINTS: Final[Mapping[str, Path]] = {
    "demo": _DEMO / "checkpoint",
    "demo_coupling": _DEMO / "coupling" / "checkpoint",
}
CIRCUITS: Final[Mapping[str, Path]] = {
    "demo": _DEMO / "circuit",
    "demo_coupling": _DEMO / "coupling" / "circuit",
}
