"""The checkpoints and circuits that come with the package, by the names that stand for them where a folder may."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lm_eval_codd.demo import CHECKPOINT, CIRCUIT, HERE

__all__ = ["CHECKPOINTS", "CIRCUITS"]

CHECKPOINTS: Final[Mapping[str, Path]] = {
    "demo": CHECKPOINT,
    "demo_coupling": HERE / "coupling" / "checkpoint",
}
CIRCUITS: Final[Mapping[str, Path]] = {
    "demo": CIRCUIT,
    "demo_coupling": HERE / "coupling" / "circuit",
}
