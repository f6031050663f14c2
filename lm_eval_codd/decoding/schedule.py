"""Schedules: at which step a row stands, which of its positions the step may commit, and how many.

A schedule only reads the canvas; the step counter of each row is its own, so rows of one batch may stand at different
steps. Steps that commit nothing are skipped: they would need no forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from lm_eval_codd.decoding.noise import Stream, uniforms

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.settings import DecodingConfig


@dataclass(frozen=True)
class Plan:
    """The next step of every row.

    step: [B] int64, its number in the schedule.
    open: [B, G] bool, masked positions that the step looks at (of the active block, or of the whole answer).
    committable: [B, G] bool, those of `open` that it may commit.
    budget: [B] int64, how many it commits; 0 where a row's schedule is over.
    """

    step: Tensor
    open: Tensor
    committable: Tensor
    budget: Tensor


class Schedule(Protocol):
    """Says what comes next; `Plan.budget` is 0 for rows that are through."""

    def next(self, canvas: Canvas) -> Plan:
        """The next step of every row that commits something."""
        ...


def make_schedule(config: DecodingConfig, device: torch.device) -> Schedule:
    """The schedule of the config's paradigm."""
    if config.paradigm == "block":
        return BlockSchedule(config, device)
    if config.alg == "random":
        return BernoulliSchedule(config, device)
    return GridSchedule(config, device)


class BlockSchedule:
    """LLaDA's semi-autoregressive blocks (spec: `get_num_transfer_tokens`).

    A block of n masks has s = num_steps / num_blocks steps; each commits n // s tokens and the first n % s one more.
    """

    def __init__(self, config: DecodingConfig, device: torch.device) -> None:
        steps = config.num_steps // config.num_blocks
        base, extra = divmod(config.block_length, steps)
        budgets = [base + (step < extra) for step in range(steps)]
        table = [
            (block, budget, block * steps + step)
            for block in range(config.num_blocks)
            for step, budget in enumerate(budgets)
            if budget
        ]
        self._block, self._budget, self._step = torch.tensor(table, device=device).unbind(1)
        self._block_of_column = torch.arange(config.gen_length, device=device) // config.block_length
        self._num_blocks = config.num_blocks

    def next(self, canvas: Canvas) -> Plan:
        """See `Schedule.next`."""
        masked = canvas.masked
        has_masks = masked.view(len(masked), self._num_blocks, -1).any(dim=2)
        entry, found = _first(has_masks[:, self._block] & (self._step >= canvas.step[:, None]))
        in_block = self._block_of_column == self._block[entry][:, None]
        open_ = masked & in_block & found[:, None]
        return Plan(self._step[entry], open_, open_, self._budget[entry] * found)


class GridSchedule:
    """Dream's time grid over the whole canvas (spec/decoding.md 2.3).

    t runs from 1 to eps in num_steps float32 steps; a step from t to s commits int(n (1 - s / t)) of the row's n
    masks, and the last one the rest.
    """

    def __init__(self, config: DecodingConfig, device: torch.device) -> None:
        self._share = _commit_share(config, device)
        self._steps = torch.arange(config.num_steps, device=device)

    def next(self, canvas: Canvas) -> Plan:
        """See `Schedule.next`."""
        masked = canvas.masked
        num_masked = masked.sum(dim=1)
        budgets = (num_masked[:, None].float() * self._share).long()
        step, found = _first((budgets > 0) & (self._steps >= canvas.step[:, None]))
        open_ = masked & found[:, None]
        return Plan(step, open_, open_, budgets.gather(1, step[:, None])[:, 0] * found)


class BernoulliSchedule:
    """Dream's `origin`: every mask is committed with probability 1 - s / t of its own, 1 at the last step."""

    _LOOK_AHEAD = 16

    def __init__(self, config: DecodingConfig, device: torch.device) -> None:
        self._share = _commit_share(config, device).double()
        self._num_steps = config.num_steps
        self._columns = torch.arange(config.gen_length, device=device)

    def next(self, canvas: Canvas) -> Plan:
        """See `Schedule.next`."""
        masked = canvas.masked
        step = canvas.step.clamp(max=self._num_steps - 1)
        chosen = self._draw(canvas.keys, step) & masked
        # Most steps of a fine grid choose nothing; a row moves on until one chooses something or the grid ends.
        waiting = masked.any(dim=1) & (canvas.step < self._num_steps)
        live = waiting.clone()
        while bool((waiting := waiting & ~chosen.any(dim=1) & (step < self._num_steps - 1)).any()):
            for _ in range(self._LOOK_AHEAD):
                stay = ~waiting | chosen.any(dim=1) | (step >= self._num_steps - 1)
                step = torch.where(stay, step, step + 1)
                chosen = torch.where(stay[:, None], chosen, self._draw(canvas.keys, step) & masked)
        chosen = chosen & live[:, None]
        return Plan(step, masked & live[:, None], chosen, chosen.sum(dim=1))

    def _draw(self, keys: Tensor, step: Tensor) -> Tensor:
        columns = self._columns.expand(len(keys), -1)
        return uniforms(keys, Stream.COUNT, step, columns) < self._share[step][:, None]


def _commit_share(config: DecodingConfig, device: torch.device) -> Tensor:
    """[num_steps] float32: 1 - s / t for each step of the grid, and 1 for the last."""
    grid = torch.linspace(1, config.eps, config.num_steps + 1)
    share = 1 - grid[1:] / grid[:-1]
    share[-1] = 1.0
    return share.to(device)


def _first(candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the first True of each row [B, N] (0 where there is none), and whether there is one."""
    return candidates.int().argmax(dim=1), candidates.any(dim=1)
