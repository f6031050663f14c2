"""KLASS, KL-adaptive stability sampling (arXiv 2511.05664), as its code for LLaDA and for Dream does it.

Blocks from left to right, or the whole answer as one. A step commits every position of the block that is sure, and
whose distribution p has moved by little in each of its last steps of the block: KL(p of now || p of the step before).
Where there is none, the surest are committed: as many as LLaDA's table says, or one in the full paradigm, where Dream
is sure of what it would draw. Tokens are the most likely ones in any case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.decoding.candidates import Support, draw, in_pieces, most_likely, tempered_support
from lm_eval_codd.decoding.commitment import surest
from lm_eval_codd.decoding.confidence import low_confidence
from lm_eval_codd.decoding.decoders.open_block import Blocks
from lm_eval_codd.decoding.step import Decision, Look, Step
from lm_eval_codd.settings import SCORE_WHAT_IS_DRAWN
from lm_eval_codd.tensors.noise import Stream
from lm_eval_codd.tensors.transfer import to_device

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas, Ids
    from lm_eval_codd.decoding.protocols import Circuit
    from lm_eval_codd.settings import DecodingConfig

# Entries of `Canvas.state`. [B, W, V] float32: distributions of the step before, of the block and the next one; a
# column's place among the W is its remainder, so that nothing moves when a row goes on to the next block.
_BEFORE: Final = "before"
# [B, G] int64: for how many steps of its block a position has been stable.
_STABLE_FOR: Final = "stable_for"
# Added to both probabilities, officially: so the first step, which has none before it, is far from it.
_TINY: Final = 1e-12


class Klass:
    """See `Decoder`."""

    revises = False

    def __init__(
        self, config: DecodingConfig, family: str, ids: Ids, device: torch.device, circuit: Circuit | None = None
    ) -> None:
        self._config = config
        self._is_dreams = family in SCORE_WHAT_IS_DRAWN
        if config.temperature > 0 and not self._is_dreams:
            raise ValueError(
                f"`temperature={config.temperature:g}` is not for `decoder=klass` on {family} checkpoints, which takes "
                "the most likely tokens; use temperature=0"
            )
        self._blocks = Blocks(config, device)
        self._num_places = min(2 * self._blocks.width, config.gen_length)
        self._steps_of_block = config.steps // self._blocks.number
        # Of what is ready, which may be less than the table says. A step a token is enough but for predicted masks,
        # which stay.
        self._may_run_out_of_steps = config.steps < config.gen_length
        base, extra = divmod(self._blocks.width, self._steps_of_block)
        table = [base + (step < extra) for step in range(self._steps_of_block)]
        self._quota = to_device(table if config.goes_by_blocks else [1] * len(table), device)

    def start(self, canvas: Canvas) -> None:
        """See `Decoder`."""
        canvas.state[_STABLE_FOR] = torch.zeros_like(canvas.answer)

    def look(self, canvas: Canvas) -> Look:
        """See `Decoder`."""
        masked = canvas.masked
        going, block, number = self._blocks.open(canvas, self._steps_of_block)
        ahead = self._blocks.of_column - block[:, None]
        here = masked & (ahead == 0) & going[:, None]
        # The next block's first step is compared with this one's last, and no step knows that it is the last.
        wanted = masked & (ahead >= 0) & (ahead <= 1) & going[:, None]
        budget = self._quota[number % self._steps_of_block]
        return Look(number, block, wanted, here.sum(dim=1), committable=here, budget=budget)

    def decide(self, canvas: Canvas, step: Step, logits: Tensor) -> Decision:
        """See `Decoder`."""
        tokens, confidence = in_pieces(step, logits, _propose)
        is_calm, distributions = self._compare(canvas, step, logits)
        here = step.committable
        stable_for = canvas.state[_STABLE_FOR].gather(1, step.columns)
        stable_for = torch.where(is_calm & here, stable_for + 1, 0)
        threshold = self._config.threshold
        assert threshold is not None  # the settings fill in klass's own
        is_sure = confidence >= threshold if self._is_dreams else confidence > threshold
        ready = here & is_sure & (stable_for >= self._config.history_length)
        score = self._score(step, logits) if self._is_dreams else confidence
        surest_ones = surest(torch.where(score.isnan(), -torch.inf, score), here, step.budget)
        commit = torch.where(ready.any(dim=1, keepdim=True), ready, surest_ones)
        if self._may_run_out_of_steps:
            is_last = step.number % self._steps_of_block == self._steps_of_block - 1
            commit = torch.where(is_last[:, None], here, commit)
        state = {
            _BEFORE: distributions,
            _STABLE_FOR: canvas.state[_STABLE_FOR].scatter(1, step.columns, stable_for),
        }
        return Decision(tokens, confidence, commit, state)

    def _compare(self, canvas: Canvas, step: Step, logits: Tensor) -> tuple[Tensor, Tensor]:
        """[B, P] bool, where the distribution has moved by little; and `_BEFORE` for the next step."""
        shape = (len(canvas), self._num_places, logits.shape[-1])
        before = canvas.state[_BEFORE] if _BEFORE in canvas.state else logits.new_zeros(shape)
        now = before.clone()

        def compare(some: Tensor, row: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
            new, old = some.softmax(dim=-1), before[row, place]
            now[row, place] = new
            divergence = (new * ((new + _TINY).log() - (old + _TINY).log())).sum(dim=-1)
            return divergence < self._config.kl_threshold, divergence

        rows = torch.arange(len(canvas), device=step.columns.device)[:, None].expand_as(step.columns)
        is_calm, _ = in_pieces(step, logits, compare, rows, step.columns % self._num_places)
        return is_calm, now

    def _score(self, step: Step, logits: Tensor) -> Tensor:
        """[B, P]: probabilities of what would be drawn at the settings' temperature, top-p and top-k."""

        def score(some: Tensor, drawn: Tensor | None) -> tuple[Tensor, Tensor]:
            support = tempered_support(some, self._config)
            index = most_likely(support.values) if drawn is None else draw(support, drawn)
            return index, low_confidence(support, index, None)

        drawn = step.uniforms(Stream.TOKEN) if self._config.temperature > 0 else None
        return in_pieces(step, logits, score, drawn)[1]


def _propose(logits: Tensor) -> tuple[Tensor, Tensor]:
    tokens = most_likely(logits)
    return tokens, low_confidence(Support(logits), tokens, None)
