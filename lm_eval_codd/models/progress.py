"""The progress bar of an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from lm_eval_codd.decoding import StepEvent
    from lm_eval_codd.models.record import Totals


class Progress:
    """One bar: answers done of all, answer tokens a second, network evaluations an answer, and the batch's step.

    A batch of an 8B model can take minutes, and its steps are what moves meanwhile.

    Args:
        total: answers in all.
        done: those of them that are there already.
        totals: the counts to show.
        hidden: show nothing.
    """

    def __init__(self, total: int, done: int, totals: Totals, *, hidden: bool) -> None:
        # Given miniters, tqdm looks at the clock alone, so that steps show between answers.
        self._bar = tqdm(total=total, initial=done, desc="Decoding", disable=hidden, miniters=0, mininterval=0.5)
        self._totals = totals
        self._step = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def start_batch(self) -> None:
        """A batch begins at its first step."""
        self._step = 0

    def on_step(self, event: StepEvent) -> None:
        """`on_step` of `generate`."""
        self._step += 1
        self._show(0)

    def add_answer(self) -> None:
        """An answer is done, and counted in `totals`."""
        self._show(1)

    def _show(self, num_done: int) -> None:
        if self._bar.disable:
            return
        totals = self._totals
        speed = totals.answer_tokens / max(totals.decoding_seconds, 1e-9)
        shown = {"tokens/s": f"{speed:.1f}", "NFE": f"{totals.mean('nfe'):.1f}", "step": self._step}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(num_done)
