"""Corrective refinement (arXiv 2512.15596; spec/decoders.md 4): what is there is decided again where it is unsure.

Each step fills every mask, scores every token by its probability in the same evaluation, and masks again those that
are unsure: at or below `threshold`, the least sure of a schedule's number (`remask_schedule`), or low outliers of the
row (`mad_k`). The last step masks nothing. A row in which a threshold or the outliers find nothing unsure is frozen: it
only fills the masks that the backbone itself predicted. Scores are of the untempered, untruncated distribution in every
family; `temperature`, `top_p` and `top_k` are for the tokens that fill masks.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.decoding.candidates import Support, draw, in_pieces, most_likely, tempered_support
from lm_eval_codd.decoding.commitment import surest
from lm_eval_codd.decoding.confidence import low_confidence
from lm_eval_codd.decoding.decoders.revision import Revising, revision
from lm_eval_codd.decoding.step import Decision, Look, Step
from lm_eval_codd.tensors.noise import Stream

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.logits import Logits
    from lm_eval_codd.settings import DecodingConfig

# A normal distribution's standard deviation in units of its median absolute deviation.
_MADS_OF_SIGMA: Final = 1.4826
_SMALLEST_MAD: Final = 1e-10


class Corrective(Revising):
    """See `Decoder`."""

    keeps_rounds = True

    @staticmethod
    def shares(config: DecodingConfig) -> list[float]:
        """See `Revising`: all of the positions until a rule says which, and none after the last step.

        They never grow, so after a step of none there is nothing to come.
        """
        shares = [1.0] * config.steps
        if config.remask_schedule is not None:
            shares = shares_of(config.remask_schedule, config.steps)
        return [*shares[:-1], 0.0]

    def start(self, canvas: Canvas) -> None:
        """See `Decoder`."""
        canvas.state["frozen"] = torch.zeros_like(canvas.step, dtype=torch.bool)

    def look(self, canvas: Canvas) -> Look:
        """See `Decoder`."""
        variable = canvas.variable
        open_ = canvas.masked & variable
        wanted = torch.where((self._most(canvas) > 0)[:, None], variable, open_)
        return Look(
            step=canvas.step,
            block=torch.zeros_like(canvas.step),
            wanted=wanted & self._plan.is_under_way(canvas.step)[:, None],
            num_open=open_.sum(dim=1),
        )

    def revise(self, canvas: Canvas, step: Step, logits: Logits) -> Decision:
        """See `Revising`."""
        current = canvas.at(step.columns)
        drawn = step.uniforms(Stream.TOKEN) if self._config.temperature > 0 else None
        tokens, confidence = in_pieces(step, logits, self._propose, current, drawn)
        most = self._most(canvas)
        unsure = self._unsure(confidence, step.wanted, most) & (most > 0)[:, None]
        decided = revision(step, tokens, confidence, current == self._mask, step.wanted & ~unsure, self._mask)
        state = {}
        if self._config.remask_schedule is None:
            state["frozen"] = canvas.state["frozen"] | ~unsure.any(dim=1)
        return replace(decided, state=state, filled=tokens)

    def _propose(self, logits: Tensor, current: Tensor, drawn: Tensor | None) -> tuple[Tensor, Tensor]:
        """The tokens that stand there once masks are filled, and their probabilities."""
        if drawn is None:
            filling = most_likely(logits)
        else:
            support = tempered_support(logits, self._config)
            filling = support.token(draw(support, drawn))
        tokens = torch.where(current == self._mask, filling, current)
        return tokens, low_confidence(Support(logits), tokens, None)

    def _most(self, canvas: Canvas) -> Tensor:
        """[B] int64: how many positions of a row the step may mask again."""
        return self._plan(canvas.step, canvas.variable).masked_fill(canvas.state["frozen"], 0)

    def _unsure(self, confidence: Tensor, among: Tensor, most: Tensor) -> Tensor:
        """[B, P] bool: those that are masked again, of the positions [B, P] bool with these confidences."""
        if self._config.remask_schedule is not None:
            return surest(-confidence, among, most)
        # In float32, as officially: there a probability of 1 is common.
        confidence = confidence.float()
        if self._config.mad_k is not None:
            return low_outliers(confidence, among, self._config.mad_k)
        assert self._config.threshold is not None  # the settings fill in one of the three
        return among & (confidence <= self._config.threshold)


def shares_of(schedule: str, num_steps: int) -> list[float]:
    """The share of a row's positions that each step of a `remask_schedule` masks again."""
    steps = range(1, num_steps + 1)
    if schedule == "linear":
        return [(num_steps - step) / num_steps for step in steps]
    if schedule == "cosine":
        return [0.5 * (1 + math.cos(math.pi * step / num_steps)) for step in steps]
    return [float(schedule.removeprefix("fixed_"))] * num_steps


def low_outliers(values: Tensor, among: Tensor, k: float) -> Tensor:
    """[B, P] bool: values [B, P] that lie more than k standard deviations below the median of their row.

    The standard deviation is that of a normal distribution with the row's median absolute deviation; both medians are
    the lower one of two.

    Args:
        values: [B, P] float32.
        among: [B, P] bool, those that count.
        k: at least 0.
    """
    median = _lower_median(values, among)
    deviation = _lower_median((values - median).abs(), among).clamp(min=_SMALLEST_MAD)
    return among & (values < median) & (median - values > k * _MADS_OF_SIGMA * deviation)


def _lower_median(values: Tensor, among: Tensor) -> Tensor:
    """[B, 1]: of the values [B, P] that count, [B, P] bool."""
    ascending = values.masked_fill(~among, torch.inf).sort(dim=1).values
    middle = (among.sum(dim=1, keepdim=True) - 1).clamp(min=0) // 2
    return ascending.gather(1, middle)
