"""How far a run is, as it says itself in a small file in its folder, about once a second."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FILE: Final = "progress.json"


@dataclass(frozen=True)
class Progress:
    """Answers done of all, denoising steps made, and answer tokens a second."""

    done: int
    total: int
    step: int = 0
    tokens_per_second: float = 0.0

    @property
    def share(self) -> float:
        """Of the answers, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0


def read(folder: Path) -> Progress | None:
    """The progress of the run in a folder; None while there is none, or a file that says nothing."""
    try:
        said = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return Progress(
            int(said["done"]), int(said["total"]), int(said.get("step", 0)), float(said.get("tokens_per_second", 0))
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
