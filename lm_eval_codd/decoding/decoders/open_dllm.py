"""Open-dLLM's samplers that mask again what is unsure (spec/decoders.md 3).

At step i of n all but the share i / n of the answer is masked, those positions that score least; a row is through when
no mask is left. The variants differ in what a position scores:

- p2: the probability of the token that is predicted there now, drawn again where the position is decided, after
  temperature, top-p and top-k. It is not P2 as released (`path_planning`): no eta, no strict cut-off.
- p2_upgraded: that of the token that stands there, in the untempered, untruncated distribution.
- p2_upgraded_remdm: the same as it was in the step that wrote the token.

A decided token that stays is not rewritten. A predicted mask stays masked, and may be predicted anew while steps are
left.
"""

from __future__ import annotations

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

# Of `Canvas.state`, [B, G] float64: the confidence of a token in the step that wrote it; 0 for what a draft gives.
_WHEN_WRITTEN: Final = "confidence_when_written"


class OpenDllm(Revising):
    """See `Decoder`."""

    @staticmethod
    def shares(config: DecodingConfig) -> list[float]:
        """See `Revising`."""
        return [1 - step / config.steps for step in range(1, config.steps + 1)]

    def start(self, canvas: Canvas) -> None:
        """See `Decoder`."""
        super().start(canvas)
        if self._remembers:
            canvas.state[_WHEN_WRITTEN] = torch.zeros_like(canvas.answer, dtype=torch.float64)

    def look(self, canvas: Canvas) -> Look:
        """See `Decoder`."""
        variable = canvas.variable
        masked = canvas.masked & variable
        num_masked = self._plan(canvas.step, variable)
        going = masked.any(dim=1) & self._plan.is_under_way(canvas.step)
        # Where nothing will be masked, a decided position matters no more.
        wanted = variable & (masked | (num_masked > 0)[:, None]) & going[:, None]
        budget = variable.sum(dim=1) - num_masked
        return Look(canvas.step, torch.zeros_like(canvas.step), wanted, masked.sum(dim=1), budget=budget)

    def revise(self, canvas: Canvas, step: Step, logits: Logits) -> Decision:
        """See `Revising`."""
        drawn = step.uniforms(Stream.TOKEN) if self._config.temperature > 0 else None
        present = canvas.at(step.columns)
        masked = present == self._mask
        propose = self._predict if self._config.variant == "p2" else self._fill
        tokens, score = in_pieces(step, logits, propose, drawn, present, masked)
        state = {}
        if self._remembers:
            when_written = canvas.state[_WHEN_WRITTEN]
            score = torch.where(masked, score, when_written.gather(1, step.columns))
            state[_WHEN_WRITTEN] = when_written.scatter(1, step.columns, score)
        score = torch.where(score.isfinite(), score, torch.inf)
        # The lowest are masked, the leftmost first where scores are equal, as those of a nucleus of one token are.
        num_masked = step.committable.sum(dim=1) - step.budget
        kept = step.committable & ~surest(-score, step.committable, num_masked)
        return replace(revision(step, tokens, score, masked, kept, self._mask), state=state)

    @property
    def _remembers(self) -> bool:
        return self._config.variant == "p2_upgraded_remdm"

    def _predict(self, logits: Tensor, drawn: Tensor | None, present: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
        support = tempered_support(logits, self._config)
        index = most_likely(support.values) if drawn is None else draw(support, drawn)
        return support.token(index), low_confidence(support, index, None)

    def _fill(self, logits: Tensor, drawn: Tensor | None, present: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
        predicted, _ = self._predict(logits, drawn, present, masked)
        tokens = torch.where(masked, predicted, present)
        return tokens, low_confidence(Support(logits), tokens, None)
