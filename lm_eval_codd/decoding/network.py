"""One network evaluation a step: from the canvas to logits at the step's positions.

`Direct` computes the whole canvas, `Guided` twice, `Cached` no more than the settings' cache asks for. Decoders with
networks of their own: `block_network`, `shadow_network`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from lm_eval_codd.backbones.full_pass import FullPass, Head, splits
from lm_eval_codd.decoding.block_network import make_block_network
from lm_eval_codd.decoding.logits import Logits, guided
from lm_eval_codd.decoding.shadow_network import ShadowNetwork
from lm_eval_codd.decoding.slots import NARROWER_CACHE, Slots
from lm_eval_codd.settings import SHIFTED
from lm_eval_codd.tensors.transfer import to_device

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.protocols import Backbone
    from lm_eval_codd.decoding.step import Step
    from lm_eval_codd.settings import DecodingConfig


class Network(Protocol):
    """Gives a step its logits, counted as one evaluation a row.

    trim: how many columns of padding that no row needs are worth a narrower canvas.
    """

    trim: int

    def logits(self, canvas: Canvas, step: Step) -> Logits:
        """[N, V] float32 at the step's positions."""
        ...


def make_network(backbone: Backbone, config: DecodingConfig, *, stores: bool = False) -> Network:
    """The network evaluation that the settings ask for; `stores` as for `make_block_network`.

    Raises:
        ValueError: the settings ask for a cache or a shadow, and the backbone has none.
    """
    if config.decoder == "block_diffusion":
        return make_block_network(backbone, config, stores=stores)
    if config.decoder == "wino":
        return ShadowNetwork(backbone, config)
    if config.cache != "none":
        return Cached(backbone, config)
    return Guided(backbone, config.cfg_scale) if config.cfg_scale else Direct(backbone)


class Direct:
    """The whole canvas, every step."""

    trim = 1

    def __init__(self, backbone: Backbone) -> None:
        self._full_pass = FullPass(backbone)

    def logits(self, canvas: Canvas, step: Step) -> Logits:
        """See `Network`."""
        at = self._full_pass.before_head(canvas.tokens, canvas.attention_mask, canvas.answer_start + step.columns)
        return Logits((step.flat(at),), self._full_pass.head, self._full_pass.vocab_size)


class Guided:
    """Classifier-free guidance: u + (cfg_scale + 1)(c - u), u from the canvas whose prompt is masked (LLaDA).

    Both halves go through the network in one evaluation.
    """

    trim = 1

    def __init__(self, backbone: Backbone, cfg_scale: float) -> None:
        self._full_pass, self._cfg_scale = FullPass(backbone), cfg_scale

    def logits(self, canvas: Canvas, step: Step) -> Logits:
        """See `Network`."""
        both = torch.cat([canvas.tokens, canvas.without_prompt().tokens])
        attention_mask = None if canvas.attention_mask is None else canvas.attention_mask.repeat(2, 1)
        positions = (canvas.answer_start + step.columns).repeat(2, 1)
        halves = self._full_pass.before_head(both, attention_mask, positions).chunk(2)
        guide = partial(guided, self._full_pass.head, self._cfg_scale)
        return Logits(tuple(map(step.flat, halves)), guide, self._full_pass.vocab_size)


class Cached:
    """Keys and values are kept from step to step (Fast-dLLM, arXiv 2505.22618; spec/decoding.md 2.5).

    A row's first evaluation in a block is a full one and fills its slot of the cache. The others in that block compute
    the block alone (`dual`), or the block and all that follows (`prefix`), and read the rest from the cache, where it
    stays as it was. Rows stand at blocks of their own, so an evaluation may take two passes: one over the rows that
    begin a block, one over the others.
    """

    trim = NARROWER_CACHE

    def __init__(self, backbone: Backbone, config: DecodingConfig) -> None:
        if not splits(backbone):
            raise ValueError(
                f"`cache={config.cache}` needs a backbone that keeps keys and values, and {type(backbone).__name__} "
                "does not, or has `logits` of its own; leave `cache` out (none)"
            )
        self._backbone, self._head, self._block_length = backbone, Head(backbone), config.block_length
        self._to_the_end = config.cache == "prefix"
        # Where a position is scored by the one before it (Dream), a cached pass over a block has not got what scores
        # the block's first. Unmasking decides that one in the full pass; for the others the pass begins one earlier.
        self._margin = int(backbone.family in SHIFTED and config.decoder != "unmasking")
        self._slots = Slots(backbone)
        # Where a pass over a block takes longer to launch than to compute, rows that are not asked for cost little.
        self._is_launched = backbone.device.type == "cuda"
        self._block_of: dict[int, int] = {}

    def logits(self, canvas: Canvas, step: Step) -> Logits:
        """See `Network`."""
        self._slots.follow(canvas)
        rows = range(len(canvas))
        begin = [row for row in rows if self._block_of.get(canvas.indices[row]) != step.blocks[row]]
        begun = [row for row in rows if self._block_of.get(canvas.indices[row]) == step.blocks[row]]
        self._block_of = dict(zip(canvas.indices, step.blocks, strict=True))
        # What fills up a row with fewer positions may lie outside of its block, where a cached pass has nothing.
        positions = canvas.answer_start + step.columns.where(step.wanted, step.columns[:, :1])
        if not begun:
            hidden = self._full_pass(canvas, positions, begin)
        elif not begin:
            hidden = self._cached_pass(canvas, positions, begun, step.blocks)
        else:
            # In this order: a cached pass may leave something in the slots of rows that are not its own.
            parts = [
                self._cached_pass(canvas, positions, begun, step.blocks),
                self._full_pass(canvas, positions, begin),
            ]
            hidden = torch.cat(parts)[self._index(begun + begin).argsort()]
        return Logits((step.flat(hidden),), self._head, self._backbone.vocab_size)

    def _full_pass(self, canvas: Canvas, positions: Tensor, rows: list[int]) -> Tensor:
        tokens, attention_mask, positions, slots = self._inputs(canvas, positions, rows)
        return self._backbone.hidden_at(tokens, attention_mask, positions, cache=self._slots.cache, slots=slots)

    def _cached_pass(self, canvas: Canvas, positions: Tensor, rows: list[int], blocks: list[int]) -> Tensor:
        tokens, attention_mask, positions, slots = self._inputs(canvas, positions, rows)
        starts = [canvas.answer_start + blocks[row] * self._block_length for row in rows]
        if self._margin:
            first = [canvas.answer_start - canvas.lengths[row] for row in rows]
            starts = [max(start - self._margin, column) for start, column in zip(starts, first, strict=True)]
        start = self._index(starts)
        width = tokens.shape[1] - min(starts) if self._to_the_end else self._block_length + self._margin
        compute = partial(self._backbone.hidden_at, cache=self._slots.cache, width=width)
        if slots is None or not self._is_launched or self._to_the_end or 2 * len(rows) < self._slots.number:
            return compute(tokens, attention_mask, positions, slots=slots, start=start)
        # In the order of the slots nothing of the cache is copied, and one graph does for whichever rows there are.
        spread = partial(self._slots.spread, slots)
        mask = None if attention_mask is None else spread(attention_mask, filling=True)
        return compute(spread(tokens), mask, spread(positions), start=spread(start))[slots]

    def _inputs(
        self, canvas: Canvas, positions: Tensor, rows: list[int]
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
        """Tokens, attention mask, positions and slots of some rows; None for the slots 0, 1, ... in order."""
        slots = self._slots.of(canvas, rows)
        if len(rows) == len(canvas):
            return canvas.tokens, canvas.attention_mask, positions, slots
        index = self._index(rows)
        attention_mask = None if canvas.attention_mask is None else canvas.attention_mask[index]
        return canvas.tokens[index], attention_mask, positions[index], slots

    def _index(self, values: list[int]) -> Tensor:
        return to_device(values, self._backbone.device)
