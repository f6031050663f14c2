"""Whether decoding one token a step, the surest first, writes a target (LLaDA's `suffix_greedy_prediction`)."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import torch

from lm_eval_codd.likelihood.asking import Ask, Told, surest

if TYPE_CHECKING:
    from lm_eval_codd.likelihood.asking import Target


def is_greedy(target: Target) -> Generator[Ask, Told, bool]:
    """Decodes until a token is not the target's: up to there the canvas is the target's own."""
    masked = torch.ones(1, len(target), dtype=torch.bool)
    for _ in range(len(target)):
        told = yield Ask(masked, masked, tops=True)
        assert told.tops is not None and told.tokens is not None  # asked for
        place = surest(told.tops[0])
        if told.tokens[0, place] != target.tokens[place]:
            return False
        masked = masked.clone()
        masked[0, place] = False
    return True
