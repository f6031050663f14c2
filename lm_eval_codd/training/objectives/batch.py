"""Rows as objectives see them: prompts as they are, answers noised and scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lm_eval_codd.training.objectives.token_losses import NO_LABEL

if TYPE_CHECKING:
    from lm_eval_codd.backbones import Backbone
    from lm_eval_codd.training.data import Example

# Mask ratios are kept this far from 0 and 1, as where Open-dLLM's path loss was trained: it divides by them.
SMALLEST_RATIO: Final = 1 / 500


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows padded on the right, on the CPU; their answers apart, padded likewise.

    Attributes:
        tokens: [B, L] int64.
        real: [B, L] bool, False at padding.
        columns: [B, A] int64, where the answers' tokens are in `tokens`; 0 at padding.
        answers: [B, A] int64, their tokens; 0 at padding.
        in_answer: [B, A] bool, False at padding.
        generators: of each row's noise, which so depends on nothing but the row and the draw.
    """

    tokens: Tensor
    real: Tensor
    columns: Tensor
    answers: Tensor
    in_answer: Tensor
    generators: Sequence[torch.Generator]

    @classmethod
    def of(cls, examples: Sequence[Example], generators: Sequence[torch.Generator]) -> Batch:
        """The batch of some rows."""
        answers = [torch.tensor(example.answer) for example in examples]
        rows = [torch.tensor([*example.prompt, *example.answer]) for example in examples]
        columns = [torch.arange(len(answer)) + len(e.prompt) for answer, e in zip(answers, examples, strict=True)]

        def padded(tensors: list[Tensor]) -> Tensor:
            return pad_sequence(tensors, batch_first=True)

        return cls(
            padded(rows),
            padded([torch.ones_like(row, dtype=torch.bool) for row in rows]),
            padded(columns),
            padded(answers),
            padded([torch.ones_like(answer, dtype=torch.bool) for answer in answers]),
            generators,
        )

    def rows(self) -> list[tuple[Tensor, torch.Generator]]:
        """Each row's answer [A_b], without padding, and its generator."""
        lengths = self.in_answer.sum(1).tolist()
        answers = [answer[:length] for answer, length in zip(self.answers, lengths, strict=True)]
        return list(zip(answers, self.generators, strict=True))

    def stacked(self, rows: Sequence[Tensor]) -> Tensor:
        """[B, A] of what each row has at its answer's positions; 0 (False) at padding."""
        return pad_sequence(list(rows), batch_first=True)

    def masks(self) -> tuple[Tensor, Tensor]:
        """Each answer's tokens masked with probability t ~ U(0, 1): [B, A] bool, and the rows' t [B, A]."""
        drawn = [masked_tokens(len(answer), generator) for answer, generator in self.rows()]
        ratios = torch.tensor([ratio for _, ratio in drawn])
        return self.stacked([masked for masked, _ in drawn]), ratios[:, None].expand(self.answers.shape)

    def labels(self, learned: Tensor) -> Tensor:
        """[B, A]: the answers' tokens where `learned`, else `NO_LABEL`."""
        return self.answers.masked_fill(~(learned & self.in_answer), NO_LABEL)

    def with_answers(self, answers: Tensor) -> Tensor:
        """[B, L]: the rows with other answers [B, A]."""
        tokens = self.tokens.clone()
        row = torch.arange(len(tokens))[:, None].expand(self.columns.shape)
        tokens[row[self.in_answer], self.columns[self.in_answer]] = answers[self.in_answer]
        return tokens

    def logits(self, backbone: Backbone, answers: Tensor) -> Tensor:
        """[B, A, V] float32, of the answers' tokens where `answers` [B, A] stand in their place."""
        device = backbone.device
        tokens, real = self.with_answers(answers).to(device), self.real.to(device)
        return backbone.logits(tokens, real, self.columns.to(device)).float()


class Objective(Protocol):
    """A loss of a backbone on noised rows.

    Attributes:
        trains_embeddings: whether embeddings and the language-model head are trained too.
    """

    trains_embeddings: ClassVar[bool]

    def loss(self, backbone: Backbone, batch: Batch, step: int, total: int) -> Tensor:
        """The loss of update `step` of `total`; `step == total` after the last one."""
        ...


def masked_tokens(length: int, generator: torch.Generator) -> tuple[Tensor, float]:
    """[L] bool on the CPU, each True with probability t; and t ~ U(0, 1), kept within `SMALLEST_RATIO` of both ends."""
    uniforms = torch.rand(1 + length, generator=generator)
    ratio = float(uniforms[0].clamp(SMALLEST_RATIO, 1 - SMALLEST_RATIO))
    return uniforms[1:] < ratio, ratio
