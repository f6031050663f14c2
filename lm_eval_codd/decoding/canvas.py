"""The canvas: a batch of prompts followed by answers under construction, and what each row carries along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from lm_eval_codd.decoding.noise import row_keys


@dataclass(frozen=True)
class Ids:
    """Token ids with a meaning. `ends` are those at which an answer is over, `eos` first."""

    mask: int
    ends: tuple[int, ...]

    @property
    def eos(self) -> int:
        """The id that fills what follows the end."""
        return self.ends[0]


@dataclass
class Canvas:
    """Rows under construction. Prompts are padded on the left, so the answer is at the same columns in every row.

    tokens: [B, L] int64, changed in place.
    attention_mask: [B, L] bool, or None when no row is padded.
    answer_start: first column of the answers; L = answer_start + gen_length.
    first: [B] int64, first real column of each row.
    index: [B] int64, the row's place in the caller's list.
    keys: [B] int64, the row's random key.
    step: [B] int64, next step of the row's schedule.
    num_forward, num_circuit, num_impossible: [B] int64 counts.
    """

    ids: Ids
    answer_start: int
    tokens: Tensor
    attention_mask: Tensor | None
    first: Tensor
    index: Tensor
    keys: Tensor
    step: Tensor
    num_forward: Tensor
    num_circuit: Tensor
    num_impossible: Tensor

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
    ) -> Canvas:
        """A fully masked answer after each prompt."""
        longest = max(map(len, prompts))
        pads = [longest - len(prompt) for prompt in prompts]
        rows = [
            [ids.eos] * pad + list(prompt) + [ids.mask] * gen_length for pad, prompt in zip(pads, prompts, strict=True)
        ]
        first = torch.tensor(pads, device=device)
        columns = torch.arange(longest + gen_length, device=device)
        zeros = torch.zeros_like(first)
        return cls(
            ids=ids,
            answer_start=longest,
            tokens=torch.tensor(rows, dtype=torch.int64, device=device),
            attention_mask=columns >= first[:, None] if any(pads) else None,
            first=first,
            index=torch.arange(len(prompts), device=device),
            keys=row_keys(seed, prompts, repeats, device),
            step=zeros.clone(),
            num_forward=zeros.clone(),
            num_circuit=zeros.clone(),
            num_impossible=zeros.clone(),
        )

    @property
    def answer(self) -> Tensor:
        """[B, G] view of the answers."""
        return self.tokens[:, self.answer_start :]

    @property
    def masked(self) -> Tensor:
        """[B, G] bool: positions of the answers that are not decided."""
        return self.answer == self.ids.mask

    def ended(self) -> Tensor:
        """[B] bool: every position before the first end token is decided, so the answer cannot change any more."""
        undecided_before = self.masked.cumsum(dim=1)
        return (self.is_end() & (undecided_before == 0)).any(dim=1)

    def is_end(self) -> Tensor:
        """[B, G] bool: end tokens of the answers."""
        return torch.isin(self.answer, self.answer.new_tensor(self.ids.ends))

    def commit(self, columns: Tensor, tokens: Tensor, commit: Tensor) -> None:
        """Write `tokens` [B, P] at the answer's `columns` [B, P] where `commit` [B, P]; columns of a row differ."""
        decided = torch.where(commit, tokens, self.answer.gather(1, columns))
        self.answer.scatter_(1, columns, decided)

    def keep(self, rows: Tensor) -> Canvas:
        """The canvas of the given rows only ([R] int64)."""
        picked = {
            field.name: value[rows] for field in fields(self) if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **picked)
