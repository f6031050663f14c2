"""CAD, CD4LM's confidence-adaptive decoding (arXiv 2601.02236; spec/decoders.md 1).

Blocks from left to right. A step commits every position of the block that is sure enough, at least `min_per_step` and
at most `max_per_step` of them. End tokens wait until a share of the answer is decided. After `max_block_steps` steps
one more decides what is left of the block. The scores are of the untempered, untruncated distribution in every family.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.decoding.candidates import Support, draw, in_pieces, most_likely, tempered_support
from lm_eval_codd.decoding.commitment import surest
from lm_eval_codd.decoding.confidence import RULES
from lm_eval_codd.decoding.coupling import make_coupling
from lm_eval_codd.decoding.decoders.open_block import Blocks
from lm_eval_codd.decoding.step import Decision, Look, Step
from lm_eval_codd.tensors.noise import Stream

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas, Ids
    from lm_eval_codd.decoding.protocols import Circuit
    from lm_eval_codd.settings import DecodingConfig

_RULE_OF_SELECTION: Final = {"confidence": "low_confidence", "entropy": "entropy", "random": "random"}
# Those of LLaDA and of Qwen-type checkpoints at once, whatever the checkpoint.
_OFFICIAL_ENDS: Final = (126081, 126348, 151643, 151645)


class Adaptive:
    """See `Decoder`."""

    revises = False

    def __init__(
        self, config: DecodingConfig, family: str, ids: Ids, device: torch.device, circuit: Circuit | None = None
    ) -> None:
        self._config = config
        self._ends = _OFFICIAL_ENDS if config.compat else ids.ends
        self._mask = ids.mask
        self._rule = RULES[_RULE_OF_SELECTION[config.selection]]
        threshold = config.entropy_threshold if config.selection == "entropy" else config.threshold
        assert threshold is not None  # the settings fill in cad's own
        self._threshold = threshold
        cap = config.block_length if config.max_block_steps is None else config.max_block_steps
        self._steps_of_block = cap + 1
        self._blocks = Blocks(config, device)
        self._coupling = make_coupling(config, circuit, self)

    def start(self, canvas: Canvas) -> None:
        """See `Decoder`."""

    def look(self, canvas: Canvas) -> Look:
        """See `Decoder`."""
        masked = canvas.masked
        going, block, number = self._blocks.open(canvas, self._steps_of_block)
        wanted = masked & (self._blocks.of_column == block[:, None]) & going[:, None]
        budget = torch.where(self._is_last(number), self._config.block_length, self._config.max_per_step)
        return Look(number, block, wanted, wanted.sum(dim=1), budget=budget)

    def decide(self, canvas: Canvas, step: Step, logits: Tensor) -> Decision:
        """See `Decoder`."""
        if self._config.compat:
            logits = logits.where(logits.isfinite(), 0.0)
        return self._coupling.decide(canvas, step, logits)

    def choose(
        self, canvas: Canvas, step: Step, logits: Tensor, forced: Tensor | None = None, *, turn: int = 0
    ) -> Decision:
        """See `Chooser`; a block's window forces nothing."""
        drawn = step.uniforms(Stream.TOKEN) if self._config.temperature > 0 else None
        rank = step.uniforms(Stream.RANK) if self._config.selection == "random" else None
        tokens, confidence = in_pieces(step, logits, self._propose, drawn, rank)
        is_last = self._is_last(step.number)
        free = step.committable & ~(self._is_end(tokens) & self._is_early(canvas)[:, None])
        # Where end tokens are all there is to commit, the least number of them is, from the left (spec/decoders.md 1:
        # officially the largest of equal scores); a last step waits for nothing.
        is_blocked = ~free.any(dim=1)
        takes_least = is_blocked & ~is_last
        among_all = takes_least if self._config.compat else is_blocked | is_last
        least = max(self._config.min_per_step - turn, 0)
        budget = torch.where(takes_least, step.budget.clamp(max=least), step.budget)
        among = torch.where(among_all[:, None], step.committable, free)

        def floor(place: Tensor) -> Tensor:
            needs_none = (place < self._config.min_per_step) | is_last[:, None]
            return torch.where(needs_none, -torch.inf, self._threshold)

        # Logits that are not finite give no confidence, and the step goes on all the same.
        score = torch.where(confidence.isnan(), -torch.inf, confidence).masked_fill(takes_least[:, None], 0.0)
        return Decision(tokens, confidence, surest(score, among, budget, floor, turn))

    def _propose(self, logits: Tensor, drawn: Tensor | None, rank: Tensor | None) -> tuple[Tensor, Tensor]:
        if not self._config.compat:
            logits = Support(logits).without((self._mask,)).values
        tokens = most_likely(logits) if drawn is None else draw(tempered_support(logits, self._config), drawn)
        return tokens, self._rule(Support(logits), tokens, rank)

    def _is_last(self, number: Tensor) -> Tensor:
        """Whether a step decides what is left of its block."""
        return number % self._steps_of_block == self._steps_of_block - 1

    def _is_early(self, canvas: Canvas) -> Tensor:
        """[B] bool: too little of the answer is decided for an end token."""
        num_decided = (~canvas.masked).sum(dim=1)
        return num_decided.double() / self._config.gen_length < self._config.eos_ratio

    def _is_end(self, tokens: Tensor) -> Tensor:
        is_end = tokens == self._ends[0]
        for end in self._ends[1:]:
            is_end |= tokens == end
        return is_end
