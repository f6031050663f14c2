"""From masked targets to what the model says of them: `Alone`, the backbone; `Coupled` (coupled.py), with a circuit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from lm_eval_codd.backbones.score import read_canvases

if TYPE_CHECKING:
    from lm_eval_codd.backbones.protocols import Backbone
    from lm_eval_codd.backbones.score import Reading
    from lm_eval_codd.settings import LikelihoodConfig


@dataclass(slots=True, eq=False)
class Question:
    """Some tokens of a target to score on one canvas, and then the answer.

    Attributes:
        columns: [S] int64, where they stand in the target.
        tokens: [S] int64.
        tops: whether also each by itself, and the most likely token in its place.
        together: log p of all of them, once it is known.
        alone, best, best_tokens: [S], of each by itself: its log p, the largest log p, and whose that is.
        num_circuit, num_impossible: as in `Likelihood`.
    """

    columns: Tensor
    tokens: Tensor
    tops: bool
    together: float = 0.0
    alone: Tensor | None = None
    best: Tensor | None = None
    best_tokens: Tensor | None = None
    num_circuit: int = 0
    num_impossible: int = 0


@dataclass(slots=True, eq=False)
class Canvas:
    """A prompt and a masked target, and what is asked of it.

    Attributes:
        prompt: [L] int64.
        target: [n] int64, with the mask id where it is masked.
        masked: [n] bool.
        questions: of all targets that look like this one under their masks.
    """

    prompt: Tensor
    target: Tensor
    masked: Tensor
    questions: list[Question] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.prompt) + len(self.target)


class Scoring(Protocol):
    """Answers the questions of some canvases with one pass of the network."""

    def answer(self, canvases: Sequence[Canvas]) -> None:
        """Write the answers into the questions."""
        ...


class Alone:
    """The backbone: positions are independent given the canvas."""

    def __init__(self, backbone: Backbone, config: LikelihoodConfig) -> None:
        self._backbone, self._config = backbone, config

    def answer(self, canvases: Sequence[Canvas]) -> None:
        """See `Scoring`."""
        columns = [torch.cat([question.columns for question in canvas.questions]) for canvas in canvases]
        reading = read(self._backbone, canvases, columns, self._config)
        answer_alone(reading, [question for canvas in canvases for question in canvas.questions])


def read(
    backbone: Backbone, canvases: Sequence[Canvas], columns: Sequence[Tensor], config: LikelihoodConfig
) -> Reading:
    """What the network says at some columns of each canvas's target."""
    after = [torch.full(((config.pad_to or len(canvas)) - len(canvas),), backbone.eos_id) for canvas in canvases]
    return read_canvases(
        backbone,
        [torch.cat([canvas.prompt, canvas.target, ends]) for canvas, ends in zip(canvases, after, strict=True)],
        [len(canvas.prompt) + each for canvas, each in zip(canvases, columns, strict=True)],
        cfg_scale=config.cfg_scale,
        prompt_lengths=[len(canvas.prompt) for canvas in canvases],
    )


def answer_alone(reading: Reading, questions: Sequence[Question]) -> None:
    """Answer questions by the backbone alone; the reading has their columns, one question after the other."""
    tokens = torch.cat([question.tokens for question in questions]).to(reading.device)
    scores = reading.score(tokens, tops=any(question.tops for question in questions))
    sizes = [len(question.columns) for question in questions]
    for question, alone in zip(questions, scores.targets.double().cpu().split(sizes), strict=True):
        question.together, question.alone = float(alone.sum()), alone
    if scores.tops is not None and scores.tokens is not None:
        best, best_tokens = scores.tops.double().cpu().split(sizes), scores.tokens.cpu().split(sizes)
        for question, *of_question in zip(questions, best, best_tokens, strict=True):
            question.best, question.best_tokens = of_question
