"""One denoising step of a batch: where a decoder looks, what the network answers there, and what the decoder writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.tensors.noise import Stream, uniforms
from lm_eval_codd.tensors.transfer import to_device

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas


@dataclass(frozen=True)
class Look:
    """What a decoder says of the next step of every row, before the network is asked.

    step: [B] int64, its number in the row's schedule; random numbers are drawn by it.
    block: [B] int64, the active block; 0 where the whole answer is one.
    wanted: [B, G] bool, positions of the answer that the network is asked for; [B, L] where columns of the prompt are
        wanted too. A row that wants nothing is through.
    num_open: [B] int64, masked positions of the active block.
    committable: [B, G] bool, those of the wanted that the step may write; None: all.
    budget: [B] int64, how many it writes at most; None: as many as the decoder likes.
    part: [B] int64, where in the block the part begins that alone is computed; -1: all of it is. None: of all rows.
    verified: [B, G] bool, decided positions of the block whose tokens are scored as if they were not known; None: none.
    """

    step: Tensor
    block: Tensor
    wanted: Tensor
    num_open: Tensor
    committable: Tensor | None = None
    budget: Tensor | None = None
    part: Tensor | None = None
    verified: Tensor | None = None


@dataclass(frozen=True)
class Step:
    """What a step works on: N positions in all, at most P in a row.

    Whatever has the size of the vocabulary exists for the N positions only, row by row. The rest is [B, P], where rows
    with fewer positions are filled up with others.

    columns: [B, P] int64, positions in the answer, ascending before the filling; all different. Those of the prompt
        are negative, -1 the last one.
    row, place: [N] int64, where in [B, P] each position stands.
    blocks, num_open: each row's active block, and how many masked positions it has there; plain numbers.
    committable: [B, P] bool; False also at the filling.
    budget: [B] int64, how many the step commits at most.
    keys, number: [B] int64, each row's random key and step.
    parts: `Look.part` as plain numbers, or None.
    verified: [B, P] bool, `Look.verified`, or None.
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
    parts: list[int] | None = None
    verified: Tensor | None = None

    @classmethod
    def of(
        cls,
        canvas: Canvas,
        look: Look,
        num_wanted: list[int],
        blocks: list[int],
        num_open: list[int],
        parts: list[int] | None = None,
    ) -> Step:
        """Collect the wanted positions, `num_wanted` in each row, to the left."""
        width = max(num_wanted)
        places = look.wanted.byte().argsort(dim=1, descending=True, stable=True)[:, :width]
        place = torch.arange(width, device=places.device).expand_as(places)
        row = torch.arange(len(places), device=places.device)[:, None].expand_as(places)
        committable = look.wanted if look.committable is None else look.committable
        budget = torch.full_like(look.step, width) if look.budget is None else look.budget
        if min(num_wanted) == width:
            row, place = row.flatten(), place.flatten()
        else:
            # With its size given, this does not wait for the device as a boolean index would.
            num, total = to_device(num_wanted, places.device), sum(num_wanted)
            row = row[:, 0].repeat_interleave(num, output_size=total)
            place = torch.arange(total, device=places.device) - (num.cumsum(0) - num)[row]
        return cls(
            columns=places + (canvas.answer.shape[1] - look.wanted.shape[1]),
            row=row,
            place=place,
            blocks=blocks,
            num_open=num_open,
            committable=committable.gather(1, places),
            budget=budget,
            keys=canvas.keys,
            number=look.step,
            parts=parts,
            verified=None if look.verified is None else look.verified.gather(1, places),
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
    """What a step writes: a token a position, how sure it is, and whether it is written; all [B, P].

    Writing the mask id takes back what was committed before.

    state: what of `Canvas.state` the step changes.
    filled: [B, P], of a decoder that keeps rounds: the tokens as they were before some were masked again.
    """

    tokens: Tensor
    confidence: Tensor
    commit: Tensor
    state: Mapping[str, Tensor] = field(default_factory=dict)
    filled: Tensor | None = None

    def then(self, later: Decision) -> Decision:
        """Both decisions, one after the other."""
        new = later.commit
        return Decision(
            tokens=later.tokens.where(new, self.tokens),
            confidence=later.confidence.where(new, self.confidence),
            commit=self.commit | new,
            state={**self.state, **later.state},
        )
