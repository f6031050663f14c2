"""The progress bar of an evaluation, and the same for a launcher that watches from outside."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tqdm import tqdm

from lm_eval_codd.catalogue import PROGRESS_FILE

if TYPE_CHECKING:
    from typing_extensions import Self

    from lm_eval_codd.decoding import StepEvent
    from lm_eval_codd.models.likelihood_record import LikelihoodTotals
    from lm_eval_codd.models.record import Totals

# How long what the file says may be old: a second at first, later a share of the run's time. Thousands of runs may have
# their files on one machine.
_SHORTEST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 10.0
_SHARE_OF_TIME: Final = 0.01


class Progress:
    """One bar: answers done of all, answer tokens a second, network evaluations an answer, and steps made.

    The first answers of an 8B model can take minutes, and the steps are what moves meanwhile.

    Args:
        total: answers in all.
        done: those of them that are there already.
        totals: the counts to show.
        hidden: show nothing.
    """

    _title = "Decoding"

    def __init__(self, total: int, done: int, totals: Totals | None, *, hidden: bool) -> None:
        # Given miniters, tqdm looks at the clock alone, so that steps show between answers. Without smoothing, what is
        # left is told from all answers so far: from the time since the last step shown, it would be seconds of hours.
        self._bar = tqdm(
            total=total, initial=done, desc=self._title, disable=hidden, miniters=0, mininterval=0.5, smoothing=0
        )
        self._totals = totals
        self._step = 0
        self._num_done = self._bar.n
        path = os.environ.get(PROGRESS_FILE)
        self._file = None if hidden or not path else _File(Path(path))

    def __enter__(self) -> Self:
        self._show(0)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def on_step(self, event: StepEvent | None = None) -> None:
        """`on_step` of `generate`; of other models, a pass of the network."""
        self._step += 1
        self._show(0)

    def add_answer(self) -> None:
        """An answer is done, and counted in `totals`."""
        self._show(1)

    def _figures(self) -> tuple[float, float]:
        """Tokens a second, and network evaluations an answer."""
        totals = self._totals
        assert totals is not None  # but where a subclass has other counts
        return totals.answer_tokens / max(totals.decoding_seconds, 1e-9), totals.mean("nfe")

    def _show(self, num_done: int) -> None:
        speed, nfe = self._figures()
        self._num_done += num_done
        if self._file is not None:
            self._file.write(
                done=self._num_done, total=self._bar.total, step=self._step, tokens_per_second=round(speed, 1)
            )
        if self._bar.disable:
            return
        shown = {"tokens/s": f"{speed:.1f}", "NFE": f"{nfe:.1f}", "step": self._step}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(num_done)


class ScoringProgress(Progress):
    """The same of likelihoods; a step is a pass of the network over a batch of canvases."""

    _title = "Scoring"

    def __init__(self, total: int, done: int, totals: LikelihoodTotals, *, hidden: bool) -> None:
        self._scored = totals
        super().__init__(total, done, None, hidden=hidden)

    def on_pass(self, num_canvases: int) -> None:
        """`on_pass` of `likelihood.stream`."""
        self._step += 1
        self._show(0)

    def _figures(self) -> tuple[float, float]:
        totals = self._scored
        return totals.tokens / max(totals.seconds, 1e-9), totals.nfe / max(1, totals.likelihoods)


class _File:
    """A file that says how far the run is, replaced at most once a second, and seldom in a long run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = time.monotonic()
        self._next = 0.0

    def write(self, **said: float | None) -> None:
        """Replace the content, unless that was done just now."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, (now - self._start) * _SHARE_OF_TIME))
        temporary = self._path.with_name(f".{self._path.name}")
        # Not worth a run: a full disk ends it where answers are written.
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(said), encoding="utf-8")
            temporary.replace(self._path)
