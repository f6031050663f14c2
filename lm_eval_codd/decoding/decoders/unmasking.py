"""Unmasking, as LLaDA, Dream and Fast-dLLM do it: each step commits the surest masked positions, and they stay.

The schedule says how many; the family says which distribution confidences come from: LLaDA takes the untempered,
untruncated one, Dream and Open-dLLM the one that they draw from. `topprob` takes them from the most likely token of the
former in any family where it differs at all, in a circuit's best windows (spec/decoding.md 2.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.decoding.candidates import Proposal, Support, draw, in_pieces, most_likely, tempered_support
from lm_eval_codd.decoding.commitment import make_floor, surest
from lm_eval_codd.decoding.confidence import RULES
from lm_eval_codd.decoding.coupling import make_coupling
from lm_eval_codd.decoding.decoders.schedule import make_schedule
from lm_eval_codd.decoding.step import Decision, Look, Step
from lm_eval_codd.settings import SCORE_WHAT_IS_DRAWN
from lm_eval_codd.tensors.noise import Stream, gumbel

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas, Ids
    from lm_eval_codd.decoding.protocols import Circuit
    from lm_eval_codd.settings import DecodingConfig


class Unmasking:
    """See `Decoder`."""

    revises = False

    def __init__(
        self, config: DecodingConfig, family: str, ids: Ids, device: torch.device, circuit: Circuit | None = None
    ) -> None:
        self._config = config
        coupled = circuit is not None
        self._scores_most_likely = config.alg == "topprob" and config.tells_topprob_apart(coupled=coupled)
        self._scores_drawn_support = family in SCORE_WHAT_IS_DRAWN
        self._rule = RULES[config.alg]
        self._unsure = ids.ends if config.confidence_eos_eot_inf else ()
        self._floor = make_floor(config)
        self._schedule = make_schedule(config, family, device)
        self._coupling = make_coupling(config, circuit, self, self._members)

    def start(self, canvas: Canvas) -> None:
        """See `Decoder`."""

    def look(self, canvas: Canvas) -> Look:
        """See `Decoder`."""
        plan = self._schedule.next(canvas)
        going = plan.budget > 0
        if self._config.stop_at_eos:
            going &= ~canvas.ended()
        wanted = plan.open | plan.committable if self._coupling.needs_all_open else plan.committable
        return Look(
            step=plan.step,
            block=plan.block,
            wanted=wanted & going[:, None],
            num_open=plan.open.sum(dim=1),
            committable=plan.committable,
            budget=plan.budget,
        )

    def decide(self, canvas: Canvas, step: Step, logits: Tensor) -> Decision:
        """See `Decoder`."""
        return self._coupling.decide(canvas, step, logits)

    def choose(
        self, canvas: Canvas, step: Step, logits: Tensor, forced: Tensor | None = None, *, turn: int = 0
    ) -> Decision:
        """See `Chooser`."""
        tokens, confidence = self._in_pieces(step, logits, self._propose)
        score = confidence
        if self._config.alg_temp is not None:
            # The largest Gumbel-perturbed scores are a draw without replacement from softmax(confidence / alg_temp).
            score = confidence / self._config.alg_temp + gumbel(step.uniforms(Stream.RANK))
        if forced is not None:
            score = score.masked_fill(forced, torch.inf)
        return Decision(tokens, confidence, self._surest(step, score, turn))

    def _members(self, step: Step, logits: Tensor) -> Tensor:
        """[B, P] bool: the surest by the confidence of the most likely token, untempered and untruncated."""
        confidence = self._in_pieces(step, logits, self._most_likely)[1]
        return self._surest(step, confidence, 0)

    def _surest(self, step: Step, score: Tensor, turn: int) -> Tensor:
        return surest(score, step.committable, step.budget, self._floor, turn)

    def _in_pieces(self, step: Step, logits: Tensor, propose: Proposal) -> tuple[Tensor, Tensor]:
        drawn = step.uniforms(Stream.TOKEN) if self._config.temperature > 0 else None
        rank = step.uniforms(Stream.RANK) if self._config.alg == "random" else None
        return in_pieces(step, logits, propose, drawn, rank)

    def _propose(self, logits: Tensor, drawn: Tensor | None, rank: Tensor | None) -> tuple[Tensor, Tensor]:
        support = tempered_support(logits, self._config)
        index = most_likely(support.values) if drawn is None else draw(support, drawn)
        tokens = support.token(index)
        if self._scores_most_likely:
            return tokens, self._most_likely(logits, drawn, rank)[1]
        if self._scores_drawn_support:
            return tokens, self._confidence(support, index, rank)
        return tokens, self._confidence(Support(logits), tokens, rank)

    def _most_likely(self, logits: Tensor, drawn: Tensor | None, rank: Tensor | None) -> tuple[Tensor, Tensor]:
        tokens = most_likely(logits)
        return tokens, self._confidence(Support(logits), tokens, rank)

    def _confidence(self, support: Support, index: Tensor, rank: Tensor | None) -> Tensor:
        if not self._unsure:
            return self._rule(support, index, rank)
        confidence = self._rule(support.without(self._unsure), index, rank)
        return torch.where(confidence.isnan(), -torch.inf, confidence)  # nothing but end tokens was left
