"""One network evaluation a step where attention is block-causal: each row's block against all before it.

No position of a finished block sees a later one, so its keys and values are final: keeping them changes nothing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.backbones.full_pass import FullPass, Head, splits
from lm_eval_codd.decoding.logits import Logits, guided
from lm_eval_codd.decoding.slots import Slots
from lm_eval_codd.settings import SHIFTED
from lm_eval_codd.tensors.transfer import to_device

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.protocols import Backbone, SplitBackbone
    from lm_eval_codd.decoding.step import Step
    from lm_eval_codd.settings import DecodingConfig


def make_block_network(
    backbone: Backbone, config: DecodingConfig, *, stores: bool
) -> KeptBlocks | RecomputedBlocks | GuidedBlocks:
    """With what is kept of finished blocks, where the backbone has caches and experts do not choose tokens.

    `stores` says that a finished block takes a forward of its own before the next one begins.
    """
    network = _make_half(backbone, config, stores=stores)
    if config.cfg_scale:
        return GuidedBlocks(network, _make_half(backbone, config, stores=stores), config.cfg_scale)
    return network


def _make_half(backbone: Backbone, config: DecodingConfig, *, stores: bool) -> KeptBlocks | RecomputedBlocks:
    if splits(backbone) and config.router != "ec":
        return KeptBlocks(backbone, config.block_length, stores=stores, part_length=config.small_block_length)
    if config.cache != "none":
        raise ValueError(
            f"`cache={config.cache}` needs a backbone that keeps keys and values, and {type(backbone).__name__} does "
            "not, or has `logits` of its own; leave `cache` out (none)"
        )
    return RecomputedBlocks(backbone, config.block_length, says_blocks=config.rule == "bd3lm")


class GuidedBlocks:
    """Classifier-free guidance (`logits.guided`): of each half, what is kept of its finished blocks.

    Blocks that are decoded are the same in both; only the prompt is masked in the second.
    """

    trim = 1

    def __init__(
        self,
        conditional: KeptBlocks | RecomputedBlocks,
        unconditional: KeptBlocks | RecomputedBlocks,
        cfg_scale: float,
    ) -> None:
        self._conditional, self._unconditional = conditional, unconditional
        self._guide = partial(guided, conditional.head, cfg_scale)

    def logits(self, canvas: Canvas, step: Step) -> Logits:
        """See `Network`."""
        conditional = self._conditional.before_head(canvas, step)
        unconditional = self._unconditional.before_head(canvas.without_prompt(), step)
        return Logits((conditional, unconditional), self._guide, self._conditional.vocab_size)


class RecomputedBlocks:
    """All up to the end of each row's block, every step: for backbones without caches, and experts that choose tokens.

    Where a last block is shorter, a backbone cannot tell where blocks begin: with `says_blocks` it is told.
    """

    trim = 1

    def __init__(self, backbone: Backbone, block_length: int, *, says_blocks: bool) -> None:
        self._says_blocks = says_blocks
        self._full_pass, self._block_length = FullPass(backbone), block_length
        self.head, self.vocab_size = self._full_pass.head, self._full_pass.vocab_size
        self._is_shifted = backbone.family in SHIFTED

    def logits(self, canvas: Canvas, step: Step) -> Logits:
        """See `Network`."""
        return Logits((self.before_head(canvas, step),), self.head, self.vocab_size)

    def before_head(self, canvas: Canvas, step: Step) -> Tensor:
        """[N, ...]: what `head` reads at the step's positions."""
        spans = _Spans(canvas, step, self._block_length)
        positions = spans.clamp(canvas.answer_start + step.columns, self._is_shifted)
        if self._is_shifted:  # a block's first position is scored by itself, as in a pass over the block alone
            positions = positions + (positions == spans.starts[:, None])
        tokens = canvas.tokens[:, : spans.width]
        mask = spans.causal(torch.arange(len(canvas), device=tokens.device)) if self._says_blocks else spans.real
        return step.flat(self._full_pass.before_head(tokens, mask, positions))


class KeptBlocks:
    """Each row's block alone; of a row that is new, all up to there, and of one that moved on, the block before too.

    That block's keys and values are of tokens which its last step had not written yet. Where it `stores`, a forward
    has been made since. A step's `parts` of `part_length` columns are computed alone, against the rest of their block
    as it was (Fast-dLLM v2's block cache, approximate).
    """

    trim = 1

    def __init__(
        self, backbone: SplitBackbone, block_length: int, *, stores: bool, part_length: int | None = None
    ) -> None:
        self._part_length = part_length
        self._backbone, self.head, self.vocab_size = backbone, Head(backbone), backbone.vocab_size
        self._block_length, self._stores = block_length, stores
        self._is_shifted = backbone.family in SHIFTED
        self._slots = Slots(backbone)
        self._block_of: dict[int, int] = {}

    def logits(self, canvas: Canvas, step: Step) -> Logits:
        """See `Network`."""
        return Logits((self.before_head(canvas, step),), self.head, self.vocab_size)

    def before_head(self, canvas: Canvas, step: Step) -> Tensor:
        """[N, D]: what `head` reads at the step's positions."""
        self._slots.follow(canvas)
        spans = _Spans(canvas, step, self._block_length)
        positions = spans.clamp(canvas.answer_start + step.columns, self._is_shifted)
        before = [self._block_of.get(index) for index in canvas.indices]
        self._block_of = dict(zip(canvas.indices, step.blocks, strict=True))
        new = [row for row, block in enumerate(before) if block is None]
        known = [row for row, block in enumerate(before) if block is not None]
        moved = not self._stores and any(before[row] != step.blocks[row] for row in known)
        parts = []
        if new:
            parts.append(self._whole(canvas, spans, positions, new))
        alone = [row for row in known if step.parts is not None and step.parts[row] >= 0]
        known = [row for row in known if row not in alone]
        if known:
            parts.append(self._blocks(canvas, spans, positions, known, 1 + moved))
        if alone:
            assert step.parts is not None
            parts.append(self._parts(canvas, spans, positions, alone, [step.parts[row] for row in alone]))
        hidden = parts[0]
        if len(parts) > 1:
            hidden = torch.cat(parts)[to_device(new + known + alone, hidden.device).argsort()]
        return step.flat(hidden)

    def _whole(self, canvas: Canvas, spans: _Spans, positions: Tensor, rows: list[int]) -> Tensor:
        index = to_device(rows, positions.device)
        return self._backbone.hidden_at(
            canvas.tokens[index, : spans.width],
            spans.causal(index),
            positions[index],
            cache=self._slots.cache,
            slots=self._slots.of(canvas, rows),
        )

    def _blocks(self, canvas: Canvas, spans: _Spans, positions: Tensor, rows: list[int], num_blocks: int) -> Tensor:
        """A pass over the block of each row, and where they are 2, the one before it, if there is one."""
        tokens = canvas.tokens[:, : spans.width]
        real, starts, ends = spans.real, spans.starts, spans.ends
        if len(rows) < len(canvas):
            index = to_device(rows, positions.device)
            tokens, real, positions = tokens[index], real[index], positions[index]
            starts, ends = starts[index], ends[index]
        seen = real[:, None, None]
        if num_blocks > 1:
            first = to_device([canvas.answer_start - canvas.lengths[row] for row in rows], positions.device)
            earlier = starts - self._block_length
            starts = torch.where(earlier >= first, earlier, starts)
            # The last column that each one of the span sees, its block's.
            until = starts[:, None] + self._block_length * torch.arange(1, num_blocks + 1, device=starts.device)
            until = until.repeat_interleave(self._block_length, dim=1)
            columns = torch.arange(spans.width, device=starts.device)
            real = (columns >= first[:, None])[:, None]
            seen = (real & (columns < until[:, :, None]))[:, None]
        return self._backbone.hidden_at(
            tokens,
            seen,
            positions,
            cache=self._slots.cache,
            slots=self._slots.of(canvas, rows),
            start=starts,
            width=num_blocks * self._block_length,
        )

    def _parts(self, canvas: Canvas, spans: _Spans, positions: Tensor, rows: list[int], begins: list[int]) -> Tensor:
        assert self._part_length is not None  # of the rule that has parts
        index, begin = to_device([rows, begins], positions.device)
        starts = spans.starts[index] + begin
        return self._backbone.hidden_at(
            canvas.tokens[index, : spans.width],
            spans.real[index][:, None, None],
            positions[index].clamp(starts[:, None], (starts + self._part_length - 1)[:, None]),
            cache=self._slots.cache,
            slots=self._slots.of(canvas, rows),
            start=starts,
            width=self._part_length,
        )


class _Spans:
    """Where each row's block lies on the canvas.

    starts, ends: [B] int64, its first column, and the first one after it.
    width: columns up to the last end of all.
    real: [B, width] bool, columns of the row up to its block's end.
    """

    def __init__(self, canvas: Canvas, step: Step, block_length: int) -> None:
        starts = canvas.block_starts(range(len(canvas)), step.blocks, block_length)
        self.width = min(max(starts) + block_length, canvas.tokens.shape[1])
        device = canvas.tokens.device
        self.starts, self._origins = to_device(
            [starts, canvas.block_starts(range(len(canvas)), [0] * len(canvas), block_length)], device
        )
        self.ends = self.starts + block_length
        self._block_length = block_length
        columns = torch.arange(self.width, device=device)
        self.real = (columns >= canvas.first[:, None]) & (columns < self.ends[:, None])

    def clamp(self, positions: Tensor, is_shifted: bool) -> Tensor:
        """[B, P] columns, those outside of the row's block moved into it; one beyond it is scored where shifted."""
        last = self.ends.clamp(max=self.width) - 1 + int(is_shifted)
        return positions.maximum(self.starts[:, None]).minimum(last[:, None])

    def causal(self, rows: Tensor) -> Tensor:
        """[R, 1, width, width] bool, of some rows: each column sees its own block and those before it."""
        columns = torch.arange(self.width, device=self.starts.device)
        blocks = (columns - self._origins[rows, None]).div(self._block_length, rounding_mode="floor")
        seen: Tensor = (blocks[:, :, None] >= blocks[:, None]) & self.real[rows, None]
        return seen[:, None]
