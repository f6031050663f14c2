"""The demo: a tiny LLaDA checkpoint and the invented word problems it was trained on.

`scripts/build_demo.py` makes everything in this folder. The problems are synthetic; a score on them says how the
decoding settings compare, and nothing about a real benchmark.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
CHECKPOINT: Final = HERE / "checkpoint"
CIRCUIT: Final = HERE / "circuit"
SPLITS: Final = ("tune", "test")


def load_split(split: str) -> list[dict[str, str]]:
    """The shipped problems, each a `question` and an `answer` that ends in `#### N`.

    Args:
        split: `test`, the 300 problems that scores are reported on, or `tune`, the problems to choose settings on.

    Raises:
        ValueError: no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"`split={split}` is not known; use one of {', '.join(SPLITS)}")
    lines = (HERE / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
