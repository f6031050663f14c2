"""Schedules: at which step a row stands, which of its positions the step may commit, and how many.

A schedule only reads the canvas; the step counter of each row is its own, so rows of one batch may stand at different
steps. Steps that commit nothing are skipped: they would need no forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

from lm_eval_codd.settings import SHIFTED
from lm_eval_codd.tensors.noise import Stream, uniforms
from lm_eval_codd.tensors.transfer import to_device

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.settings import DecodingConfig


@dataclass(frozen=True)
class Plan:
    """The next step of every row.

    step: [B] int64, its number in the schedule.
    block: [B] int64, the active block; 0 where the whole answer is one.
    open: [B, G] bool, masked positions of the active block.
    committable: [B, G] bool, masked positions that the step may commit.
    budget: [B] int64, how many it commits, at most; 0 where a row's schedule is over.
    """

    step: Tensor
    block: Tensor
    open: Tensor
    committable: Tensor
    budget: Tensor


class Schedule(Protocol):
    """Says what comes next; `Plan.budget` is 0 for rows that are through."""

    def next(self, canvas: Canvas) -> Plan:
        """The next step of every row that commits something."""
        ...


def make_schedule(config: DecodingConfig, family: str, device: torch.device) -> Schedule:
    """The schedule of the config's paradigm; with a cache, that of the family's cached decode (Fast-dLLM's).

    Raises:
        ValueError: `counts` is given where a cached decode has counts of its own.
    """
    num_blocks = config.num_blocks if config.goes_by_blocks else 1
    block_length = config.block_length if config.goes_by_blocks else config.gen_length
    # Where a position is scored by the one before it, a cached pass over the block has not got what scores the block's
    # first. So the full pass at the block's start decides that one, and nothing else.
    leads = family in SHIFTED and config.cache != "none"
    if leads and config.counts is not None:
        raise ValueError(
            f"`counts={config.counts}` is not read with `cache={config.cache}` by a {family} checkpoint, whose cached "
            "blocks go by the time grid; leave out one of them"
        )
    if config.steps_follow_confidence:
        steps = _until_full(block_length)
    elif config.has_rounded_counts(family):
        last = config.gen_length - (num_blocks - 1) * block_length
        widths = [block_length] * (num_blocks - 1) + [last]
        tables = [rounded_table(config.steps_of_block, width) for width in widths]
        # A cached pass has computed nothing before the block.
        return BlockSchedule(widths, tables, leftovers=config.cache == "none", device=device)
    elif config.paradigm == "block" and not leads:
        steps = _transfer_table(config.steps // num_blocks, block_length)
    elif config.alg == "random" and config.paradigm == "full":
        return BernoulliSchedule(config, device)
    else:
        steps = _time_grid(config.steps // num_blocks, config.eps)
    leads = leads and len(steps) > 1
    return BlockSchedule([block_length] * num_blocks, [steps] * num_blocks, leads=leads, device=device)


class BlockStep(NamedTuple):
    """How many tokens a step of a block commits: `quota`, or the share of the block's masks, rounded down."""

    quota: int = 0
    share: float = 0.0


class BlockSchedule:
    """Blocks from left to right, each with as many steps. The whole answer may be one block.

    Args:
        widths: of the blocks, all alike but for a shorter last one.
        steps: of each block.
        leads: the first step of a block commits the block's first position and no other.
        leftovers: masks that an earlier block was left with may be committed in the place of the block's own.
        device: of the canvas.
    """

    def __init__(
        self,
        widths: list[int],
        steps: list[list[BlockStep]],
        *,
        leads: bool = False,
        leftovers: bool = False,
        device: torch.device,
    ) -> None:
        self._num_blocks, self._leftovers = len(widths), leftovers
        self._missing = widths[0] - widths[-1]
        self._columns = torch.arange(sum(widths), device=device)
        self._block_of_column = self._columns // widths[0]
        self._is_first_column = self._columns % widths[0] == 0
        self._step = torch.arange(len(steps) * len(steps[0]), device=device)
        self._block = self._step // len(steps[0])
        flat = list(chain(*steps))
        self._quota = to_device([step.quota for step in flat], device)
        # float32 through and through, as the official grid is.
        self._share = to_device([step.share for step in flat], device, torch.float32)
        self._leads = (self._step % len(steps[0]) == 0) if leads else None

    def next(self, canvas: Canvas) -> Plan:
        """See `Schedule.next`."""
        masked = canvas.masked
        whole = torch.nn.functional.pad(masked, (0, self._missing)) if self._missing else masked
        num_masked = whole.view(len(masked), self._num_blocks, -1).sum(dim=2)
        num_masked = (num_masked.cumsum(dim=1) if self._leftovers else num_masked)[:, self._block]
        budgets = (num_masked.float() * self._share).long() + self._quota
        if self._leads is not None:
            budgets = budgets.masked_fill(self._leads, 1)
        candidates = (num_masked > 0) & (budgets > 0) & (self._step >= canvas.step[:, None])
        found, entry = candidates.any(dim=1), candidates.int().argmax(dim=1)
        block = self._block[entry]
        open_ = masked & (self._block_of_column == block[:, None]) & found[:, None]
        committable = open_
        if self._leftovers:
            committable = masked & (self._block_of_column <= block[:, None]) & found[:, None]
        if self._leads is not None:
            committable = open_ & (self._is_first_column | ~self._leads[entry][:, None])
        return Plan(entry, block, open_, committable, budgets.gather(1, entry[:, None])[:, 0] * found)


def _transfer_table(num_steps: int, block_length: int) -> list[BlockStep]:
    """LLaDA's (spec: `get_num_transfer_tokens`): of n masks, each of s steps commits n // s, the first n % s one more.

    Every block starts with all of its positions masked.
    """
    base, extra = divmod(block_length, num_steps)
    return [BlockStep(quota=base + (step < extra)) for step in range(num_steps)]


def rounded_table(num_steps: int, block_length: int) -> list[BlockStep]:
    """The counts of dLLM (spec/decoders.md 6.1): step j of S commits round(m q_j) of m masks left, q_j = 1 / (S - j).

    As it is computed there, which decides ties: quotients of float32 times in float64, rounded half to even.
    """
    times = torch.arange(num_steps, -1, -1, dtype=torch.float64) / num_steps
    masked_share = 1 - (1 - times.float())
    stays = masked_share[1:] / masked_share[:-1]
    counts = []
    left = block_length
    for share in (1 - stays.double()).tolist():
        counts.append(min(left, round(left * share)))
        left -= counts[-1]
    return [BlockStep(quota=count) for count in counts]


def _time_grid(num_steps: int, eps: float) -> list[BlockStep]:
    """Dream's (spec/decoding.md 2.3): a step from t to s commits int(n (1 - s / t)) of n masks, the last the rest."""
    return [BlockStep(share=share) for share in _commit_share(num_steps, eps).tolist()]


def _until_full(block_length: int) -> list[BlockStep]:
    """As many as the floor allows. Each step commits one at least, so there are no more steps than positions."""
    return [BlockStep(quota=block_length)] * block_length


class BernoulliSchedule:
    """Dream's `origin`: every mask is committed with probability 1 - s / t of its own, 1 at the last step."""

    _LOOK_AHEAD = 16

    def __init__(self, config: DecodingConfig, device: torch.device) -> None:
        self._share = _commit_share(config.steps, config.eps).double().to(device)
        self._num_steps = config.steps
        self._columns = torch.arange(config.gen_length, device=device)

    def next(self, canvas: Canvas) -> Plan:
        """See `Schedule.next`."""
        masked = canvas.masked
        step = canvas.step.clamp(max=self._num_steps - 1)
        chosen = self._draw(canvas.keys, step) & masked
        # Most steps of a fine grid choose nothing; a row moves on until one chooses something or the grid ends. Whether
        # all have done so takes a wait for the device, beside the loop's.
        waiting = masked.any(dim=1) & (canvas.step < self._num_steps)
        live = waiting.clone()
        while bool((waiting := waiting & ~chosen.any(dim=1) & (step < self._num_steps - 1)).any()):
            for _ in range(self._LOOK_AHEAD):
                stay = ~waiting | chosen.any(dim=1) | (step >= self._num_steps - 1)
                step = torch.where(stay, step, step + 1)
                chosen = torch.where(stay[:, None], chosen, self._draw(canvas.keys, step) & masked)
        chosen = chosen & live[:, None]
        return Plan(step, torch.zeros_like(step), masked & live[:, None], chosen, chosen.sum(dim=1))

    def _draw(self, keys: Tensor, step: Tensor) -> Tensor:
        columns = self._columns.expand(len(keys), -1)
        return uniforms(keys, Stream.COUNT, step, columns) < self._share[step][:, None]


def _commit_share(num_steps: int, eps: float) -> Tensor:
    """[num_steps] float32: 1 - s / t for each step of the grid, and 1 for the last."""
    grid = torch.linspace(1, eps, num_steps + 1)
    share = 1 - grid[1:] / grid[:-1]
    share[-1] = 1.0
    return share
