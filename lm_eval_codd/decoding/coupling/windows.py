"""Which windows of the canvas a circuit looks at in a step, and whose gate is open."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, overload

import torch
from torch import Tensor

from lm_eval_codd.tensors.transfer import to_device

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.step import Step
    from lm_eval_codd.settings import DecodingConfig, LikelihoodConfig


# [B, P] bool: the positions of a step that the backbone alone, with logits [N, V], would commit.
Members = Callable[["Step", Tensor], Tensor]


@dataclass(frozen=True)
class Windows:
    """Open windows of a step; a row may have none, one or several.

    row: [W] int64, row of the batch.
    columns: [W, T] int64, columns of the canvas.
    takes: [W, T] bool, masked positions that take the coupled distribution.
    num_masked: masked positions in all windows together, where that is known without asking the device; the `silent`
        ones are among them.
    silent: [W, T] bool, positions of which nothing is known, whatever stands there or beyond the canvas; None: there
        are none.
    """

    row: Tensor
    columns: Tensor
    takes: Tensor
    num_masked: int | None = None
    silent: Tensor | None = None

    def select(self, keep: Tensor) -> Windows:
        """Some of the windows, [W] bool or indices."""
        silent = None if self.silent is None else self.silent[keep]
        return Windows(self.row[keep], self.columns[keep], self.takes[keep], silent=silent)


@dataclass(frozen=True)
class Placement:
    """The step's windows, and what the rule that placed them says about the step's choice.

    committable: [B, P] bool, narrowed by the rule or as it was.
    forced: [B, P] bool, committed before all others, or None.
    """

    windows: Windows
    committable: Tensor
    forced: Tensor | None = None


class WindowRule(Protocol):
    """Places the windows of a step."""

    def __call__(self, canvas: Canvas, step: Step, logits: Tensor) -> Placement:
        """`logits` [N, V] are the backbone's, at the step's positions."""
        ...


class Gate:
    """Opens where the share of masked positions is strictly below `pc_frac`, or above it with `reverse_frac`."""

    def __init__(self, config: DecodingConfig | LikelihoodConfig) -> None:
        self._threshold = config.pc_frac
        self._reverse = config.reverse_frac

    @overload
    def __call__(self, num_masked: Tensor, length: int | Tensor) -> Tensor: ...
    @overload
    def __call__(self, num_masked: int, length: int) -> bool: ...
    def __call__(self, num_masked: Tensor | int, length: int | Tensor) -> Tensor | bool:
        """A bool for each number of masked positions."""
        # In Python's floats, or in float64: a float32 share may fall on the other side.
        share = num_masked.double() / length if isinstance(num_masked, Tensor) else num_masked / length
        return share > self._threshold if self._reverse else share < self._threshold


class BlockWindow:
    """The active block is the window (Algorithm 1); of what a last, shorter block lacks nothing is known."""

    def __init__(self, config: DecodingConfig, num_positions: int) -> None:
        self._gate = Gate(config)
        self._length = num_positions

    def __call__(self, canvas: Canvas, step: Step, logits: Tensor) -> Placement:
        """See `WindowRule`."""
        starts, end = canvas.block_starts(range(len(canvas)), step.blocks, self._length), canvas.tokens.shape[1]
        lengths = [min(self._length, end - start) for start in starts]
        # A block decoder's steps that only finish a block have nothing open.
        rows = [row for row, number in enumerate(step.num_open) if number and self._gate(number, lengths[row])]
        row, start = to_device([rows, [starts[row] for row in rows]], canvas.tokens.device)
        columns = _span(start, self._length)
        takes, silent = _is_masked(canvas, row, columns.clamp(max=end - 1)), None
        # A prompt that opens a block may hold mask tokens, whose number only the device knows.
        num_masked = sum(step.num_open[row] for row in rows)
        is_counted = all(starts[row] >= canvas.answer_start and lengths[row] == self._length for row in rows)
        if any(lengths[row] < self._length for row in rows):
            silent = columns >= end
            takes &= ~silent
        return Placement(Windows(row, columns, takes, num_masked if is_counted else None, silent), step.committable)


class BestWindow:
    """One window a row, where the official code puts it.

    The step's candidates are the most confident positions by the untempered, untruncated distribution. Of the windows
    centred on one of them (clamped to the row), the one that holds most of them is taken, the leftmost on ties; it
    needs at least two of them. Candidates outside are committed all the same, also when the gate is closed. The rest
    of the step's budget goes to any positions inside where the gate is open, and to any at all where it is closed.
    """

    def __init__(self, config: DecodingConfig, num_positions: int, members: Members) -> None:
        self._gate = Gate(config)
        self._length = num_positions
        self._members = members

    def __call__(self, canvas: Canvas, step: Step, logits: Tensor) -> Placement:
        """See `WindowRule`."""
        members = self._members(step, logits)
        column = canvas.answer_start + step.columns
        start = _clamp_start(column - self._length // 2, canvas, self._length)
        inside = _contains(start[:, :, None], column[:, None, :], self._length) & members[:, None, :]
        coverage = inside.sum(dim=2).masked_fill(~members, -1)
        best = coverage.argmax(dim=1, keepdim=True)
        start, coverage = start.gather(1, best)[:, 0], coverage.gather(1, best)[:, 0]
        outside = ~_contains(start[:, None], column, self._length)
        forced = members & outside
        columns = _span(start, self._length)
        masked = canvas.tokens.gather(1, columns) == canvas.ids.mask
        is_open = self._gate(masked.sum(dim=1), self._length) & (coverage > 1)
        committable = step.committable & (forced | ~(outside & is_open[:, None]))
        row = is_open.nonzero()[:, 0]
        windows = Windows(row, columns[row], _is_masked(canvas, row, columns[row]))
        return Placement(windows, committable, forced)


class CoveringWindows:
    """The paper's covering set (Algorithm 2): the step's candidates are split into clusters that one window holds.

    Clusters are made from left to right, the fewest possible, each window centred on its cluster. The gate looks at
    the whole answer's mask ratio. The candidates, and only they, are committed.
    """

    def __init__(self, config: DecodingConfig, num_positions: int, members: Members) -> None:
        self._gate = Gate(config)
        self._length = num_positions
        self._gen_length = config.gen_length
        self._members = members

    def __call__(self, canvas: Canvas, step: Step, logits: Tensor) -> Placement:
        """See `WindowRule`."""
        members = self._members(step, logits)
        column = canvas.answer_start + step.columns
        uncovered = members & self._gate(canvas.masked.sum(dim=1), self._gen_length)[:, None]
        starts, clusters = [], []
        # A cluster begins where the window of the one before ends, or later, so there are no more than these.
        for _ in range(math.ceil(self._gen_length / self._length)):
            left = column.masked_fill(~uncovered, canvas.tokens.shape[1]).amin(dim=1)
            cluster = uncovered & (column < left[:, None] + self._length)
            right = column.masked_fill(~cluster, -1).amax(dim=1)
            centred = (left + right + 1 - self._length).div(2, rounding_mode="floor")
            starts.append(_clamp_start(centred, canvas, self._length))
            clusters.append(cluster)
            uncovered = uncovered & ~cluster
        start, cluster = torch.stack(starts, dim=1), torch.stack(clusters, dim=1)
        row, number = cluster.any(dim=2).nonzero(as_tuple=True)
        columns = _span(start[row, number], self._length)
        is_member = columns[:, :, None] == column[row][:, None, :]
        takes = (is_member & cluster[row, number][:, None, :]).any(dim=2)
        return Placement(Windows(row, columns, takes), members)


def _span(start: Tensor, length: int) -> Tensor:
    return start[:, None] + torch.arange(length, device=start.device)


def _contains(start: Tensor, column: Tensor, length: int) -> Tensor:
    return (column >= start) & (column < start + length)


def _clamp_start(start: Tensor, canvas: Canvas, length: int) -> Tensor:
    """Keep windows [B, ...] within their rows: not into the padding, not beyond the end."""
    first = canvas.first.view(-1, *[1] * (start.dim() - 1))
    return start.maximum(first).clamp(max=canvas.tokens.shape[1] - length)


def _is_masked(canvas: Canvas, row: Tensor, columns: Tensor) -> Tensor:
    """Masked positions of the answer, [N, T]; a mask token in a prompt is not one."""
    return (canvas.tokens[row[:, None], columns] == canvas.ids.mask) & (columns >= canvas.answer_start)
