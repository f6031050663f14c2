"""The demos of this package: what each runs, and how it says its results. A new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from lm_eval_codd.launch import demo_coupling, demo_words

if TYPE_CHECKING:
    from lm_eval_codd.launch.demo import Demo

__all__ = ["DEMOS"]

DEMOS: Final[Mapping[str, Demo]] = {"words": demo_words.DEMO, "coupling": demo_coupling.DEMO}
