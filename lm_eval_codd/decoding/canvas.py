"""The canvas: a batch of prompts followed by answers under construction, and what each row carries along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lm_eval_codd.tensors.noise import row_keys
from lm_eval_codd.tensors.transfer import to_device


@dataclass(frozen=True)
class Ids:
    """Token ids with a meaning. `ends` are those at which an answer is over, `eos` first."""

    mask: int
    ends: tuple[int, ...]

    @property
    def eos(self) -> int:
        """The id that fills what follows the end."""
        return self.ends[0]


@dataclass(frozen=True)
class Drafts:
    """Answers to begin with, in place of masks.

    tokens: a list of ids a row, mask ids among them or not; any lengths.
    fixed: of each, whether it never changes; None: the decoder says.
    """

    tokens: Sequence[Sequence[int]]
    fixed: Sequence[Sequence[bool]] | None = None

    @property
    def longest(self) -> int:
        """Positions of the longest one, at least 1."""
        return max(1, *map(len, self.tokens))

    def of(self, indices: Sequence[int]) -> Drafts:
        """Those of some rows."""
        fixed = None if self.fixed is None else [self.fixed[index] for index in indices]
        return Drafts([self.tokens[index] for index in indices], fixed)


class Room(NamedTuple):
    """What of a canvas a row takes.

    num_positions: of its answer under construction; what is beyond `gen_length` is cut in the end.
    offset: columns from where its blocks are counted to its answer; 0 where the first block is the answer's first.
    """

    num_positions: int
    offset: int = 0


@dataclass
class Canvas:
    """Rows under construction. Prompts are padded on the left, so the answer is at the same columns in every row.

    The canvas is as wide as its longest row: it grows and shrinks with the rows that join and leave.

    indices: each row's place in the caller's list, known without asking the device.
    lengths: each row's prompt tokens, likewise.
    answer_lengths: each row's own positions of the G in an answer, likewise; with drafts they differ, and where blocks
        are counted from the prompt's start.
    block_offsets: columns from where each row's blocks are counted to its answer, likewise.
    answer_start: first column of the answers, the longest prompt's length; L = answer_start + G.
    tokens: [B, L] int64, changed in place.
    attention_mask: [B, L] bool, or None when no row is padded.
    first: [B] int64, first real column of each row.
    keys: [B] int64, the row's random key.
    step: [B] int64, next step of the row's schedule.
    num_forward, num_planner, num_circuit, num_impossible, num_nonfinite: [B] int64 counts.
    fixed: [B, G] bool, positions of a draft that never change; None where the caller did not say.
    state: what a decoder carries along, tensors with a row each; zeros for rows that join without an entry.
    """

    ids: Ids
    indices: list[int]
    lengths: list[int]
    answer_lengths: list[int]
    block_offsets: list[int]
    answer_start: int
    tokens: Tensor
    attention_mask: Tensor | None
    first: Tensor
    keys: Tensor
    step: Tensor
    num_forward: Tensor
    num_planner: Tensor
    num_circuit: Tensor
    num_impossible: Tensor
    num_nonfinite: Tensor
    fixed: Tensor | None = None
    state: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def from_prompts(
        cls,
        prompts: Sequence[Sequence[int]],
        gen_length: int,
        ids: Ids,
        *,
        seed: int,
        repeats: Sequence[int],
        device: torch.device,
        indices: Sequence[int] | None = None,
        drafts: Drafts | None = None,
        rooms: Sequence[Room] | None = None,
    ) -> Canvas:
        """An answer of `gen_length` positions after each prompt, masked or a draft; `indices` are 0, 1, ... by default.

        One that is shorter, a draft or by its `rooms`, is padded on the right.
        """
        rooms = [Room(gen_length)] * len(prompts) if rooms is None else rooms
        lengths = [len(prompt) for prompt in prompts]
        longest = max(lengths)
        answers = [[ids.mask] * room.num_positions for room in rooms] if drafts is None else drafts.tokens
        rows = [
            [ids.eos] * (longest - len(prompt)) + [*prompt, *answer] + [ids.eos] * (gen_length - len(answer))
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        fixed = None
        if drafts is not None and drafts.fixed is not None:
            padded = [[*row, *[False] * (gen_length - len(row))] for row in drafts.fixed]
            fixed = to_device(padded, device, torch.bool)
        zeros = torch.zeros(len(prompts), dtype=torch.int64, device=device)
        canvas = cls(
            ids=ids,
            indices=list(range(len(prompts)) if indices is None else indices),
            lengths=lengths,
            answer_lengths=[len(answer) for answer in answers],
            block_offsets=[room.offset for room in rooms],
            answer_start=longest,
            tokens=to_device(rows, device),
            attention_mask=None,
            first=zeros,
            keys=row_keys(seed, prompts, repeats, device, drafts=None if drafts is None else drafts.tokens),
            step=zeros.clone(),
            num_forward=zeros.clone(),
            num_planner=zeros.clone(),
            num_circuit=zeros.clone(),
            num_impossible=zeros.clone(),
            num_nonfinite=zeros.clone(),
            fixed=fixed,
        )
        canvas._mark_padding()
        return canvas

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def answer(self) -> Tensor:
        """[B, G] view of the answers."""
        return self.tokens[:, self.answer_start :]

    @property
    def masked(self) -> Tensor:
        """[B, G] bool: positions of the answers that are not decided."""
        return self.answer == self.ids.mask

    def without_prompt(self) -> Canvas:
        """The same with masks in place of the prompts, for guidance; steps write in this one."""
        tokens = self.tokens.clone()
        tokens[:, : self.answer_start] = self.ids.mask
        return replace(self, tokens=tokens)

    def block_starts(self, rows: Sequence[int], blocks: Sequence[int], block_length: int) -> list[int]:
        """The first column of a block of each of the rows."""
        return [self.answer_start - self.block_offsets[row] + blocks[row] * block_length for row in rows]

    @property
    def inside(self) -> Tensor:
        """[B, G] bool: the row's own positions of the answers; False where a shorter draft is padded."""
        own = to_device(self.answer_lengths, self.tokens.device)
        return torch.arange(self.answer.shape[1], device=self.tokens.device) < own[:, None]

    @property
    def variable(self) -> Tensor:
        """[B, G] bool: positions that may change, masked now or not."""
        return self.inside if self.fixed is None else self.inside & ~self.fixed

    @property
    def real(self) -> Tensor:
        """[B, L] bool: what is not padding."""
        return torch.ones_like(self.tokens, dtype=torch.bool) if self.attention_mask is None else self.attention_mask

    def at(self, columns: Tensor) -> Tensor:
        """[B, P] tokens at the answer's `columns` [B, P]; those of the prompt are negative, -1 the last one."""
        return self.tokens.gather(1, self.answer_start + columns)

    def ended(self, among: Tensor | None = None) -> Tensor:
        """[B] bool: every position before the first end token is decided, so the answer cannot change any more.

        With `among`, [B, G] bool, of end tokens there alone: where no position to the left of one is masked again.
        """
        decided_before = self.masked.cumsum(dim=1) == 0
        is_end = self.is_end() & decided_before
        return (is_end if among is None else is_end & among).any(dim=1)

    def is_end(self) -> Tensor:
        """[B, G] bool: end tokens of the answers, what pads shorter ones not among them."""
        answer, is_end = self.answer, self.answer == self.ids.eos
        for end in self.ids.ends[1:]:
            is_end |= answer == end
        return is_end & self.inside if self._are_padded() else is_end

    def _are_padded(self) -> bool:
        return any(length < self.tokens.shape[1] - self.answer_start for length in self.answer_lengths)

    def commit(self, columns: Tensor, tokens: Tensor, commit: Tensor) -> None:
        """Write `tokens` [B, P] at the answer's `columns` [B, P] where `commit` [B, P]; columns of a row differ."""
        columns = self.answer_start + columns
        self.tokens.scatter_(1, columns, torch.where(commit, tokens, self.tokens.gather(1, columns)))

    def keep(self, rows: Sequence[int], *, trim: int = 1) -> Canvas:
        """The canvas of the given rows only, without the padding that none of them needs, if it is `trim` columns."""
        index = to_device(rows, self.tokens.device)
        picked = {name: value[index] for name, value in self._columns().items()}
        kept = replace(
            self,
            **picked,
            state={name: value[index] for name, value in self.state.items()},
            indices=[self.indices[row] for row in rows],
            lengths=[self.lengths[row] for row in rows],
            answer_lengths=[self.answer_lengths[row] for row in rows],
            block_offsets=[self.block_offsets[row] for row in rows],
        )
        needed = max(kept.lengths, default=0)
        if self.answer_start - needed >= trim:
            kept._widen_to(needed)
        kept._mark_padding()
        return kept

    def join(self, others: Canvas) -> Canvas:
        """This canvas with the rows of another below."""
        width = max(self.answer_start, others.answer_start)
        self._widen_to(width)
        others._widen_to(width)
        columns, below = self._columns(), others._columns()
        joined_columns: dict[str, Any] = {name: torch.cat([value, below[name]]) for name, value in columns.items()}
        joined = replace(
            self,
            **joined_columns,
            state=_stacked(self.state, others.state, len(self), len(others)),
            indices=self.indices + others.indices,
            lengths=self.lengths + others.lengths,
            answer_lengths=self.answer_lengths + others.answer_lengths,
            block_offsets=self.block_offsets + others.block_offsets,
        )
        joined._mark_padding()
        return joined

    def _columns(self) -> dict[str, Any]:
        """Everything that is a tensor with a row each, but for the attention mask, which is made anew."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "attention_mask"}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def _widen_to(self, answer_start: int) -> None:
        """Add padding on the left, or take some away, so that the answers start there."""
        more = answer_start - self.answer_start
        self.tokens = torch.nn.functional.pad(self.tokens, (more, 0), value=self.ids.eos)
        self.answer_start = answer_start

    def _mark_padding(self) -> None:
        pads = [self.answer_start - length for length in self.lengths]
        self.first = to_device(pads, self.tokens.device)
        columns = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        self.attention_mask = columns >= self.first[:, None] if any(pads) else None
        if self._are_padded():
            ends = to_device([self.answer_start + length for length in self.answer_lengths], self.tokens.device)
            self.attention_mask = (columns >= self.first[:, None]) & (columns < ends[:, None])


def _stacked(above: dict[str, Tensor], below: dict[str, Tensor], num_above: int, num_below: int) -> dict[str, Tensor]:
    """Both states, one below the other; zeros in the rows of one that lacks an entry."""
    stacked = {}
    for name in {**above, **below}:
        some = above[name] if name in above else below[name]
        upper = above[name] if name in above else some.new_zeros(num_above, *some.shape[1:])
        lower = below[name] if name in below else some.new_zeros(num_below, *some.shape[1:])
        stacked[name] = torch.cat([upper, lower])
    return stacked
