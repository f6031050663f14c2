"""What decoding gives: answers, and on the way to them what each step did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.decoding.rounds import Rounds

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.step import Decision, Step
    from lm_eval_codd.settings import DecodingConfig


@dataclass(frozen=True)
class Generation:
    """One decoded answer.

    tokens: gen_length ids, a draft's length with drafts. With `stop_at_eos` everything after the first end token is
        eos; positions that were never decided (the backbone predicted the mask itself) hold the mask id, and fixed
        ones what they held. A rule whose answers are shorter (`fast_dllm_v2`) is filled up with eos.
    num_answer_tokens: tokens before the first end token, all of them when there is none.
    num_forward: network evaluations that this row took part in (NFE).
    num_circuit: circuit evaluations made for this row.
    num_impossible: those of them whose evidence the circuit ruled out, so that the backbone decided alone.
    num_nonfinite: steps in which the backbone's logits held NaN or +inf at a position that the step looked at, or
        nothing but -inf. What such a step decides means nothing; a token of -inf is merely ruled out.
    num_planner: evaluations of a planner, which are not in `num_forward`.
    num_capped: of `decoder=block_diffusion`, blocks that were left with masks in them, since the mask itself was
        predicted there until all forwards that a block may take were used up.
    rounds: with `keep_rounds`, of each of the `num_steps` steps the answer as it was before any of it was masked again,
        never cut at an end token; None otherwise.
    first_confidence: with `keep_rounds`, of each token of the answer its confidence in the first step, which is that of
        the draft's own tokens; NaN where that step did not look.
    """

    tokens: list[int]
    num_answer_tokens: int
    num_forward: int
    num_circuit: int = 0
    num_impossible: int = 0
    num_nonfinite: int = 0
    num_planner: int = 0
    num_capped: int = 0
    rounds: list[list[int]] | None = None
    first_confidence: list[float] | None = None


@dataclass(frozen=True)
class StepEvent:
    """What one step did, for `on_step`. R rows are still under way; P columns of each were looked at.

    rows: [R] int64, places in the list of prompts.
    number: [R] int64, the step's number in each row's schedule.
    answer: [R, G] int64, after the step; G is gen_length, or the longest draft's length, and beyond a row's own the
        mask id stands.
    columns: [R, P] int64, positions in the answer.
    tokens, confidence, commit: [R, P], candidates, how sure they are, and which were committed.
    taken_back: [R, P] bool, the committed masks that took the place of a token.
    num_circuit: [R] int64, circuit evaluations so far.
    alone: what the backbone alone would have decided on the same canvas; None unless `compare` asked for it.
    """

    rows: Tensor
    number: Tensor
    answer: Tensor
    columns: Tensor
    tokens: Tensor
    confidence: Tensor
    commit: Tensor
    taken_back: Tensor
    num_circuit: Tensor
    alone: Decision | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """An answer as it leaves the loop.

    index: of its prompt.
    seconds: its share of the loop's wall time, which the rows under way share equally. What the caller does between
        two answers is not the loop's.
    """

    index: int
    generation: Generation
    seconds: float


def generations(
    done: Canvas, config: DecodingConfig, shown: int | None = None, num_capped: Tensor | None = None
) -> Iterator[tuple[int, Generation]]:
    """The rows of a canvas that are through, each with its place in the list of prompts.

    Args:
        done: these rows.
        config: the settings.
        shown: positions of an answer that are given, filled up with eos where it has fewer; None: all of its own.
        num_capped: [B] int64, `Generation.num_capped`; None: no decoder counts them.
    """
    answer, width = done.answer, done.answer.shape[1]
    is_end = done.is_end() | ~done.inside
    length = torch.where(is_end.any(dim=1), is_end.int().argmax(dim=1), width)
    if shown is not None:
        length = length.clamp(max=shown)
    if config.stop_at_eos:
        beyond = torch.arange(width, device=answer.device) > length[:, None]
        if done.fixed is not None:
            beyond &= ~done.fixed
        answer = answer.masked_fill(beyond, done.ids.eos)
    counted = (done.num_forward, done.num_circuit, done.num_impossible, done.num_nonfinite, done.num_planner)
    capped = torch.zeros_like(length) if num_capped is None else num_capped
    columns = (answer, length, *counted, capped)
    rows = zip(done.indices, done.answer_lengths, *(column.tolist() for column in columns), strict=True)
    for (index, own_length, tokens, *counts), kept in zip(rows, Rounds.of(done), strict=True):
        tokens = tokens[:own_length]
        if shown is not None:
            tokens = [*tokens[:shown], *[done.ids.eos] * (shown - own_length)]
        yield index, Generation(tokens, *counts, *kept)


def event_of(
    canvas: Canvas, step: Step, decision: Decision, alone: Decision | None, before: Tensor | None
) -> StepEvent:
    """What a step did to a canvas, whose tokens were `before` [B, L]; None for a decoder that takes nothing back."""
    taken_back = torch.zeros_like(decision.commit)
    if before is not None:
        was_token = before.gather(1, canvas.answer_start + step.columns) != canvas.ids.mask
        taken_back = decision.commit & was_token & (decision.tokens == canvas.ids.mask)
    return StepEvent(
        rows=torch.tensor(canvas.indices),
        number=step.number,
        answer=canvas.answer.where(canvas.inside, canvas.ids.mask),
        columns=step.columns,
        tokens=decision.tokens,
        confidence=decision.confidence,
        commit=decision.commit,
        taken_back=taken_back,
        num_circuit=canvas.num_circuit.clone(),
        alone=alone,
    )
