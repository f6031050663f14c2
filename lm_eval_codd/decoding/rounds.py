"""What a decoder that revises made of a row in each step, kept beside its answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import torch

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.step import Decision, Step

# Entries of `Canvas.state`, which travel with their rows.
_ROUNDS: Final = "rounds"
_CONFIDENCE: Final = "first_confidence"


class Rounds:
    """Keeps the answer as each step filled it, before any of it was masked again, and the first step's confidences.

    What a step does before it masks again does not depend on how many follow, where the rule that masks again does not:
    then the answer of the last step is the one that a decode with that many steps ends with.

    Args:
        num_steps: of the decode.
    """

    def __init__(self, num_steps: int) -> None:
        self._num_steps = num_steps

    def start(self, canvas: Canvas) -> None:
        """Begin with what the rows hold now."""
        canvas.state[_ROUNDS] = canvas.answer[:, None].repeat(1, self._num_steps, 1)
        canvas.state[_CONFIDENCE] = torch.full_like(canvas.answer, torch.nan, dtype=torch.float32)

    def note(self, canvas: Canvas, step: Step, decision: Decision) -> None:
        """Keep what a step decided; called before it is written."""
        assert decision.filled is not None  # `check_keeps_rounds`
        answer = canvas.answer.scatter(
            1, step.columns, torch.where(step.wanted, decision.filled, canvas.at(step.columns))
        )
        # Of a row that needs no further step, the later ones are as this one.
        now = torch.arange(self._num_steps, device=answer.device) >= step.number[:, None]
        canvas.state[_ROUNDS] = torch.where(now[:, :, None], answer[:, None], canvas.state[_ROUNDS])
        before = canvas.state[_CONFIDENCE]
        is_first = step.wanted & (step.number == 0)[:, None]
        kept = torch.where(is_first, decision.confidence.float(), before.gather(1, step.columns))
        canvas.state[_CONFIDENCE] = before.scatter(1, step.columns, kept)

    @staticmethod
    def of(done: Canvas) -> Iterator[tuple[list[list[int]], list[float]] | tuple[None, None]]:
        """Of each row the answers after its steps and the first step's confidences, as `Generation` has them."""
        if _ROUNDS not in done.state:
            yield from ((None, None) for _ in done.indices)
            return
        rounds, confidence = done.state[_ROUNDS].tolist(), done.state[_CONFIDENCE].tolist()
        for length, of_row, first in zip(done.answer_lengths, rounds, confidence, strict=True):
            yield [answer[:length] for answer in of_row], first[:length]
