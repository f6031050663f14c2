"""One denoising step of a batch, and the decision what to commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.decoding.candidates import Support, draw, most_likely, rows_at_a_time, tempered_support
from lm_eval_codd.decoding.commitment import make_floor, surest
from lm_eval_codd.decoding.confidence import RULES
from lm_eval_codd.decoding.noise import Stream, gumbel, uniforms
from lm_eval_codd.decoding.transfer import to_device

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas, Ids
    from lm_eval_codd.decoding.decoders.schedule import Plan
    from lm_eval_codd.settings import DecodingConfig, Family


@dataclass(frozen=True)
class Step:
    """What a step works on: N positions in all, at most P in a row.

    Whatever has the size of the vocabulary exists for the N positions only, row by row. The rest is [B, P], where rows
    with fewer positions are filled up with others.

    columns: [B, P] int64, positions in the answer, ascending before the filling; all different.
    row, place: [N] int64, where in [B, P] each position stands.
    blocks, num_open: each row's active block, and how many masked positions it has there; plain numbers.
    committable: [B, P] bool; False also at the filling.
    budget: [B] int64, how many the step commits at most.
    keys, number: [B] int64, each row's random key and step.
    """

    columns: Tensor
    row: Tensor
    place: Tensor
    blocks: list[int]
    num_open: list[int]
    committable: Tensor
    budget: Tensor
    keys: Tensor
    number: Tensor

    @classmethod
    def of(
        cls, canvas: Canvas, plan: Plan, wanted: Tensor, num_wanted: list[int], blocks: list[int], num_open: list[int]
    ) -> Step:
        """Collect the `wanted` positions [B, G], `num_wanted` in each row, to the left."""
        width = max(num_wanted)
        columns = wanted.byte().argsort(dim=1, descending=True, stable=True)[:, :width]
        place = torch.arange(width, device=columns.device).expand_as(columns)
        row = torch.arange(len(columns), device=columns.device)[:, None].expand_as(columns)
        if min(num_wanted) == width:
            row, place = row.flatten(), place.flatten()
        else:
            # With its size given, this does not wait for the device as a boolean index would.
            num, total = to_device(num_wanted, columns.device), sum(num_wanted)
            row = row[:, 0].repeat_interleave(num, output_size=total)
            place = torch.arange(total, device=columns.device) - (num.cumsum(0) - num)[row]
        return cls(
            columns=columns,
            row=row,
            place=place,
            blocks=blocks,
            num_open=num_open,
            committable=plan.committable.gather(1, columns),
            budget=plan.budget,
            keys=canvas.keys,
            number=plan.step,
        )

    @property
    def wanted(self) -> Tensor:
        """[B, P] bool: False at the filling."""
        return self.spread(torch.ones_like(self.row, dtype=torch.bool), False)

    @property
    def is_ragged(self) -> bool:
        """Whether some row has fewer positions than others."""
        return len(self.row) < self.columns.numel()

    def flat(self, values: Tensor) -> Tensor:
        """[B, P, ...] -> [N, ...]."""
        return values[self.row, self.place] if self.is_ragged else values.flatten(0, 1)

    def spread(self, values: Tensor, filling: float | bool) -> Tensor:
        """[N] -> [B, P]."""
        if not self.is_ragged:
            return values.view_as(self.columns)
        spread = values.new_full(self.columns.shape, filling)
        spread[self.row, self.place] = values
        return spread

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
    `topprob` takes them from the most likely token of the former in either family where a circuit's best windows are
    `coupled` (spec/decoding.md 2.4).
    """

    def __init__(self, config: DecodingConfig, family: Family, ids: Ids, *, coupled: bool = False) -> None:
        self._config = config
        self._scores_most_likely = config.alg == "topprob" and config.tells_topprob_apart(coupled=coupled)
        self._scores_drawn_support = family == "dream"
        self._rule = RULES[config.alg]
        self._unsure = ids.ends if config.confidence_eos_eot_inf else ()
        self._floor = make_floor(config)

    def decide(self, step: Step, logits: Tensor, forced: Tensor | None = None, *, turn: int = 0) -> Decision:
        """Propose a token everywhere and commit the surest of each row.

        Args:
            step: the open positions.
            logits: [N, V] float32 at those positions, after guidance and the circuit.
            forced: [B, P] bool, positions that go before all others.
            turn: how many of each row's positions the same step has committed before.
        """
        tokens, confidence = self._in_pieces(step, logits, self._propose)
        score = confidence
        if self._config.alg_temp is not None:
            # The largest Gumbel-perturbed scores are a draw without replacement from softmax(confidence / alg_temp).
            score = confidence / self._config.alg_temp + gumbel(step.uniforms(Stream.RANK))
        if forced is not None:
            score = score.masked_fill(forced, torch.inf)
        return Decision(tokens, confidence, self.choose(step, score, turn))

    def choose(self, step: Step, score: Tensor, turn: int = 0) -> Tensor:
        """[B, P] bool: what the step commits by `score` [B, P], the surest first."""
        return surest(score, step.committable, step.budget, self._floor, turn)

    def raw_confidence(self, step: Step, logits: Tensor) -> Tensor:
        """[B, P] confidence of the most likely token, untempered and untruncated (window placement)."""
        return self._in_pieces(step, logits, self._look)[1]

    def _in_pieces(self, step: Step, logits: Tensor, function: Callable[..., tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Tokens and confidences [B, P] that a function gives for some positions at a time."""
        drawn = step.flat(step.uniforms(Stream.TOKEN)) if self._config.temperature > 0 else None
        rank = step.flat(step.uniforms(Stream.RANK)) if self._config.alg == "random" else None
        size = rows_at_a_time(logits)
        pieces = []
        for start, some in zip(range(0, len(logits), size), logits.split(size), strict=True):
            numbers = (None if uniform is None else uniform[start : start + size] for uniform in (drawn, rank))
            pieces.append(function(some, *numbers))
        tokens, confidence = (torch.cat(parts) for parts in zip(*pieces, strict=True))
        return [step.spread(tokens, 0), step.spread(confidence, -torch.inf)]

    def _propose(self, logits: Tensor, drawn: Tensor | None, rank: Tensor | None) -> tuple[Tensor, Tensor]:
        support = tempered_support(logits, self._config)
        index = most_likely(support.values) if drawn is None else draw(support, drawn)
        tokens = support.token(index)
        if self._scores_most_likely:
            return tokens, self._look(logits, drawn, rank)[1]
        if self._scores_drawn_support:
            return tokens, self._confidence(support, index, rank)
        return tokens, self._confidence(Support(logits), tokens, rank)

    def _look(self, logits: Tensor, drawn: Tensor | None, rank: Tensor | None) -> tuple[Tensor, Tensor]:
        tokens = most_likely(logits)
        return tokens, self._confidence(Support(logits), tokens, rank)

    def _confidence(self, support: Support, index: Tensor, rank: Tensor | None) -> Tensor:
        if not self._unsure:
            return self._rule(support, index, rank)
        confidence = self._rule(support.without(self._unsure), index, rank)
        return torch.where(confidence.isnan(), -torch.inf, confidence)  # nothing but end tokens was left
