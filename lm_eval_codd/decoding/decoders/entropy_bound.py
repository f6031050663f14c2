"""EB-Sampler, entropy-bounded unmasking (arXiv 2505.24857).

Blocks from left to right, or the whole answer as one. A step commits the surest masked positions of the block, as many
as keep the sum of their entropies less the largest of them, a bound on what is lost by drawing them apart, within
`gamma`; the surest one in any case. Scores and entropies are of the untempered, untruncated distribution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.decoding.candidates import Support, draw, in_pieces, most_likely, tempered_support
from lm_eval_codd.decoding.commitment import ranked, surest
from lm_eval_codd.decoding.confidence import RULES
from lm_eval_codd.decoding.decoders.open_block import Blocks
from lm_eval_codd.decoding.step import Decision, Look, Step
from lm_eval_codd.tensors.noise import Stream

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas, Ids
    from lm_eval_codd.decoding.protocols import Circuit
    from lm_eval_codd.settings import DecodingConfig

_RULE_OF_PROXY: Final = {"confidence": "low_confidence", "margin": "margin"}


class EntropyBound:
    """See `Decoder`."""

    revises = False

    def __init__(
        self, config: DecodingConfig, family: str, ids: Ids, device: torch.device, circuit: Circuit | None = None
    ) -> None:
        self._config = config
        self._blocks = Blocks(config, device)

    def start(self, canvas: Canvas) -> None:
        """See `Decoder`."""

    def look(self, canvas: Canvas) -> Look:
        """See `Decoder`."""
        # A step commits one position at least, so that a block has no more of them than positions.
        going, block, number = self._blocks.open(canvas, self._blocks.width)
        wanted = canvas.masked & (self._blocks.of_column == block[:, None]) & going[:, None]
        return Look(number, block, wanted, wanted.sum(dim=1))

    def decide(self, canvas: Canvas, step: Step, logits: Tensor) -> Decision:
        """See `Decoder`."""
        drawn = step.uniforms(Stream.TOKEN) if self._config.temperature > 0 else None
        tokens, entropy = in_pieces(step, logits, self._propose, drawn)
        score = -entropy
        if self._config.error_proxy != "entropy":
            _, score = in_pieces(step, logits, self._score, tokens)
        # Logits that are not finite give no score, and the step goes on all the same.
        score = torch.where(score.isnan(), -torch.inf, score)
        budget = bounded(entropy, ranked(score, step.committable), step.committable, self._config.gamma)
        return Decision(tokens, score, surest(score, step.committable, budget))

    def _propose(self, logits: Tensor, drawn: Tensor | None) -> tuple[Tensor, Tensor]:
        """Tokens, and entropies in nats."""
        tokens = most_likely(logits)
        if drawn is not None:
            support = tempered_support(logits, self._config)
            tokens = support.token(draw(support, drawn))
        return tokens, torch.special.entr(logits.softmax(dim=-1)).sum(dim=-1).double()

    def _score(self, logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return tokens, RULES[_RULE_OF_PROXY[self._config.error_proxy]](Support(logits), tokens, None)


def bounded(entropy: Tensor, order: Tensor, among: Tensor, gamma: float) -> Tensor:
    """[B] int64: how many positions in the order have entropies whose sum less the largest is `gamma` at most.

    Args:
        entropy: [B, P] float64.
        order: [B, P] int64, positions, those that count first.
        among: [B, P] bool, those that count.
        gamma: at least 0, so that one always does.
    """
    values = entropy.gather(1, order)
    within = values.cumsum(dim=1) - values.cummax(dim=1).values <= gamma
    within[:, 0] = True  # whatever the entropy, not a number too
    return (within & among.gather(1, order)).long().cumprod(dim=1).sum(dim=1)
