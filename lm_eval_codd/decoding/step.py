"""One denoising step of a batch, and the decision what to commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.decoding.candidates import Support, draw, tempered_support
from lm_eval_codd.decoding.confidence import RULES
from lm_eval_codd.decoding.noise import Stream, gumbel, uniforms

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Ids
    from lm_eval_codd.settings import DecodingConfig, Family


@dataclass(frozen=True)
class Step:
    """What a step works on. P is the largest number of open positions of a row; shorter rows are padded.

    columns: [B, P] int64, positions in the answer, ascending, all different.
    committable: [B, P] bool; False also at the padding.
    budget: [B] int64, how many the step commits.
    keys, number: [B] int64, each row's random key and step.
    """

    columns: Tensor
    committable: Tensor
    budget: Tensor
    keys: Tensor
    number: Tensor

    def uniforms(self, stream: Stream) -> Tensor:
        """[B, P] float64 in (0, 1)."""
        return uniforms(self.keys, stream, self.number, self.columns)


@dataclass(frozen=True)
class Decision:
    """A candidate a position, how sure it is, and whether it is committed; all [B, P]."""

    tokens: Tensor
    confidence: Tensor
    commit: Tensor

    def then(self, later: Decision) -> Decision:
        """Both decisions, one after the other."""
        new = later.commit
        return Decision(
            tokens=later.tokens.where(new, self.tokens),
            confidence=later.confidence.where(new, self.confidence),
            commit=self.commit | new,
        )


class Decider:
    """Candidates, confidences and the choice of positions, as one family has them.

    LLaDA takes confidences from the untempered, untruncated distribution; Dream from the one that it draws from.
    """

    def __init__(self, config: DecodingConfig, family: Family, ids: Ids) -> None:
        self._config = config
        self._scores_drawn_support = family == "dream"
        self._rule = RULES[config.alg]
        self._unsure = ids.ends if config.confidence_eos_eot_inf else ()

    def decide(self, step: Step, logits: Tensor, forced: Tensor | None = None) -> Decision:
        """Propose a token everywhere and commit the surest `step.budget` of each row.

        Args:
            step: the open positions.
            logits: [B, P, V] float32 at those positions, after guidance and the circuit.
            forced: [B, P] bool, positions that go before all others.
        """
        support = tempered_support(logits, self._config)
        index = draw(support, step.uniforms(Stream.TOKEN) if self._config.temperature > 0 else None)
        tokens = support.token(index)
        confidence = (
            self._confidence(step, support, index)
            if self._scores_drawn_support
            else self._confidence(step, Support(logits), tokens)
        )
        score = confidence
        if self._config.alg_temp is not None:
            # The largest Gumbel-perturbed scores are a draw without replacement from softmax(confidence / alg_temp).
            score = confidence / self._config.alg_temp + gumbel(step.uniforms(Stream.RANK))
        if forced is not None:
            score = score.masked_fill(forced, torch.inf)
        return Decision(tokens, confidence, surest(score, step.committable, step.budget))

    def raw_confidence(self, step: Step, logits: Tensor) -> Tensor:
        """[B, P] confidence of the most likely token, untempered and untruncated (window placement)."""
        return self._confidence(step, Support(logits), logits.argmax(dim=-1))

    def _confidence(self, step: Step, support: Support, index: Tensor) -> Tensor:
        uniform = step.uniforms(Stream.RANK)
        if not self._unsure:
            return self._rule(support, index, uniform)
        confidence = self._rule(support.without(self._unsure), index, uniform)
        return torch.where(confidence.isnan(), -torch.inf, confidence)  # nothing but end tokens was left


def surest(score: Tensor, committable: Tensor, budget: Tensor) -> Tensor:
    """[B, P] bool: the `budget` [B] best scores among the committable; the leftmost first where scores are equal."""
    # Two stable sorts: -inf is a score that a committable position can have.
    by_score = score.argsort(dim=1, descending=True, stable=True)
    open_first = committable.gather(1, by_score).byte().argsort(dim=1, descending=True, stable=True)
    order = by_score.gather(1, open_first)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, places)
    return committable & (rank < budget[:, None])
