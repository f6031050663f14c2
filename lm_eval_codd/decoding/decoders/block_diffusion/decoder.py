"""The block decoder: which block each row is at and when it is through; a rule says what happens inside of a block."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.decoding.candidates import Support, draw, in_pieces, most_likely
from lm_eval_codd.decoding.canvas import Room
from lm_eval_codd.decoding.confidence import low_confidence
from lm_eval_codd.decoding.coupling import make_coupling
from lm_eval_codd.decoding.decoders.block_diffusion.rule import Rule, Stand
from lm_eval_codd.decoding.step import Decision, Look, Step
from lm_eval_codd.settings.block_rules import RULES
from lm_eval_codd.tensors.noise import Stream
from lm_eval_codd.tensors.transfer import to_device

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas, Ids
    from lm_eval_codd.decoding.protocols import Circuit
    from lm_eval_codd.settings import DecodingConfig

# Entries of `Canvas.state`: the block that a row is at, the step at which it began that, and how many there are.
_BLOCK: Final = "block"
_SINCE: Final = "block_since"
_NUM_BLOCKS: Final = "num_blocks"
# [G] each: place of the answer's positions, counted from where the row's blocks are.
_PLACE: Final = "place"

# In the place of a uniform number, where nothing is drawn.
_GREEDY: Final = -1.0


def make_rule(config: DecodingConfig, device: torch.device) -> Rule:
    """The rule that the settings name."""
    assert config.rule is not None  # `DecodingConfig.with_rule`
    module, name = RULES[config.rule].target.split(":")
    rule: Rule = getattr(import_module(module), name)(config, device)
    return rule


class BlockDiffusion:
    """See `Decoder`. Once a block is finished it never changes, since none of its positions sees a later one."""

    revises = False

    def __init__(
        self, config: DecodingConfig, family: str, ids: Ids, device: torch.device, circuit: Circuit | None = None
    ) -> None:
        self._config, self._device = config, device
        self._rule = make_rule(config, device)
        self._coupling = make_coupling(config, circuit, self)

    @property
    def stores(self) -> bool:
        """Whether a finished block takes a forward of its own."""
        return self._rule.stores

    def room(self, num_prompt: int) -> Room:
        """What of the canvas the answer to so many tokens takes."""
        extent = self._rule.extent(num_prompt)
        return Room(extent.num_positions, extent.offset)

    def start(self, canvas: Canvas) -> None:
        """See `Decoder`."""
        extents = [self._rule.extent(length) for length in canvas.lengths]
        length = self._config.block_length
        # The prompt's whole blocks are finished, and where a finished block takes a forward, they take one together.
        begins = [extent.offset // length - (self._rule.stores and extent.offset >= length) for extent in extents]
        offset, block, num_blocks = to_device(
            [[one.offset for one in extents], begins, [one.num_blocks for one in extents]], self._device
        )
        columns = torch.arange(canvas.answer.shape[1], device=self._device)
        canvas.state[_PLACE] = offset[:, None] + columns
        canvas.state[_BLOCK] = block
        canvas.state[_NUM_BLOCKS] = num_blocks
        canvas.state[_SINCE] = torch.zeros_like(block)
        self._rule.start(canvas)

    def look(self, canvas: Canvas) -> Look:
        """See `Decoder`."""
        stand, works = self._stand(canvas)
        committable = self._rule.wanted(stand) & works[:, None]
        wanted = committable
        if self._coupling.needs_all_open:
            wanted = wanted | (stand.masked & works[:, None])
        if self._rule.stores:
            finishing = self._rule.finishing(stand) & ~works[:, None]
            wanted, committable = wanted | finishing, committable | finishing
        wanted = wanted & ~self._is_over(canvas, stand, works)[:, None]
        num_open = stand.masked.sum(dim=1) * works
        part = None
        if self._config.cache != "none":
            part = torch.where(works, self._rule.part(stand), -1)
        return Look(canvas.step, stand.block, wanted, num_open, committable, part=part)

    def num_capped(self, canvas: Canvas) -> Tensor:
        """[B] int64: each row's blocks that were left with masks in them.

        A rule leaves none before its forwards are used up, and what is left never changes.
        """
        stand, works = self._stand(canvas)
        block = stand.place.div(self._config.block_length, rounding_mode="floor")
        is_left = block < (stand.block + ~works)[:, None]
        # Blocks from the answer's first one on.
        block = block - block[:, :1]
        masks = torch.zeros_like(block).scatter_add(1, block, (canvas.inside & canvas.masked & is_left).long())
        return (masks > 0).sum(dim=1)

    def decide(self, canvas: Canvas, step: Step, logits: Tensor) -> Decision:
        """See `Decoder`."""
        return self._coupling.decide(canvas, step, logits)

    def choose(
        self, canvas: Canvas, step: Step, logits: Tensor, forced: Tensor | None = None, *, turn: int = 0
    ) -> Decision:
        """See `Chooser`; a block's window forces nothing, and a step's tokens are committed at once."""
        stand, works = self._stand(canvas)
        drawn = None
        if self._config.temperature > 0:
            drawn = step.uniforms(Stream.TOKEN).masked_fill(~works[:, None], _GREEDY)
        tokens, confidence = in_pieces(step, logits, self._propose, drawn)
        commit, changed = self._rule.commits(canvas, stand, step, tokens, confidence)
        if self._rule.stores:
            commit = torch.where(works[:, None], commit, self._rule.finishes(stand, step))
        state = {
            **changed,
            _BLOCK: stand.block + ~works,
            _SINCE: torch.where(works, step.number - stand.taken, step.number + 1),
        }
        return Decision(tokens, confidence, commit, state)

    def _propose(self, logits: Tensor, drawn: Tensor | None) -> tuple[Tensor, Tensor]:
        if drawn is None:
            tokens = most_likely(logits)
            return tokens, low_confidence(Support(logits), tokens, None)
        support = self._rule.support(logits)
        index = draw(support, drawn)
        tokens = torch.where(drawn == _GREEDY, most_likely(logits), support.token(index))
        if self._rule.scores_untempered:
            return tokens, low_confidence(Support(logits), tokens, None)
        return tokens, low_confidence(support, index, None)

    def _stand(self, canvas: Canvas) -> tuple[Stand, Tensor]:
        """Where each row stands, and whether its step writes in the block [B]; else the step only finishes the block.

        Where finishing takes no step, rows that are done with a block stand at the next one.
        """
        block, taken = canvas.state[_BLOCK], canvas.step - canvas.state[_SINCE]
        stand = self._at(canvas, block, taken)
        works = self._rule.goes_on(canvas, stand)
        if self._rule.stores:
            return stand, works
        stand = self._at(canvas, torch.where(works, block, block + 1), torch.where(works, taken, 0))
        return stand, torch.ones_like(works)

    def _at(self, canvas: Canvas, block: Tensor, taken: Tensor) -> Stand:
        place, length = canvas.state[_PLACE], self._config.block_length
        inside = canvas.inside & (place.div(length, rounding_mode="floor") == block[:, None])
        return Stand(block, taken, place, inside, inside & canvas.masked)

    def _is_over(self, canvas: Canvas, stand: Stand, works: Tensor) -> Tensor:
        """[B] bool: nothing that may follow changes the answer."""
        num_blocks = canvas.state[_NUM_BLOCKS]
        over = stand.block >= num_blocks
        is_between = (stand.taken == 0) & (canvas.step > 0)
        if self._rule.stores and not self._rule.stores_last:
            is_between = is_between | ~works
            over = over | (~works & (stand.block == num_blocks - 1))
        if self._config.stop_at_eos or self._rule.stops_anyway:
            over = over | (is_between & canvas.is_end().any(dim=1))
        if self._config.stop_at_eos and not self._rule.edits:
            over = over | canvas.ended()
        return over
