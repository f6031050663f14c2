"""Bounds of log p of given rows, by Monte Carlo over noise; for ar the exact value.

A row's noise is a function of (seed, its context, the draw), so that the choices of one question share it, and neither
other rows nor the batch change it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.dit.processes.d3pm import D3PM, on_grid
from lm_eval_codd.dit.schedules import LEAST_TIME
from lm_eval_codd.noise import Stream, row_keys, uniforms
from lm_eval_codd.settings import unknown_value

if TYPE_CHECKING:
    from lm_eval_codd.dit.model import DiT

MODES: Final = ("suffix", "joint")
_Pair = tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True)
class Bound:
    """What a model thinks of a target.

    Attributes:
        value: nats, summed over the scored tokens: a lower bound of log p, of ar log p itself.
        stderr: standard error of `value` as if the draws were independent: their times are spread evenly, so it is no
            smaller than the true one. None of a single draw, 0.0 where nothing is drawn.
        num_forward: how often the network saw the row (NFE).
        num_tokens: scored ones.
    """

    value: float
    stderr: float | None
    num_forward: int
    num_tokens: int


@torch.inference_mode()
def log_likelihood_bounds(
    dit: DiT,
    pairs: Sequence[_Pair],
    mode: str | None = None,
    num_samples: int = 128,
    seed: int = 1234,
    batch_size: int = 8,
) -> list[Bound]:
    """A bound of log p for each pair of context and target.

    Args:
        dit: the model.
        pairs: (context ids, target ids). The begin token, where the model has one, is the first of the context.
        mode: `suffix`, log p(target | context): the context stays clean, the target alone is noised and scored (of duo
            loose: it was never trained on rows of mixed noise). `joint`: the whole row is noised and scored, comparable
            between targets of one context alone. None: joint for duo, suffix for the others. ar has the first only.
        num_samples: draws of a pair. Their times are spread evenly, whatever the batch.
        seed: of the noise.
        batch_size: rows at once.

    Raises:
        ValueError: one line: a row is empty or longer than the model's, or a setting says nothing.
    """
    mode = mode or ("joint" if dit.algo == "duo" else "suffix")
    _check(dit, pairs, mode, num_samples, batch_size)
    asked = [index for index, (_, target) in enumerate(pairs) if len(target)]
    bounds = [Bound(0.0, 0.0, 0, 0)] * len(pairs)
    if dit.autoregressive is not None:
        for rows in _of_one_length(asked, [pairs[row] for row in asked], batch_size):
            nats = dit.nelbo(torch.tensor([[*pairs[row][0], *pairs[row][1]] for row in rows]))
            for row, each in zip(rows, nats, strict=True):
                number = len(pairs[row][1])
                bounds[row] = Bound(-float(each[-number:].sum()), 0.0, 1, number)
        return bounds
    values: dict[int, list[Tensor]] = {row: [] for row in asked}
    draws = [(row, draw) for row in asked for draw in range(num_samples)]
    once = _reconstructions(dit, asked, pairs, mode, batch_size)
    for some in _of_one_length(draws, [pairs[row] for row, _ in draws], batch_size):
        for (row, _), value in zip(some, _drawn(dit, some, pairs, mode, num_samples, seed), strict=True):
            values[row].append(value)
    for row in asked:
        each = torch.stack(values[row]).cpu()
        stderr = None if num_samples == 1 else float(each.std()) / math.sqrt(num_samples)
        number = len(pairs[row][1]) + (len(pairs[row][0]) if mode == "joint" else 0)
        value = float(each.mean()) + once.get(row, 0.0)
        bounds[row] = Bound(value, stderr, num_samples + (row in once), number)
    return bounds


def _drawn(
    dit: DiT, draws: Sequence[tuple[int, int]], pairs: Sequence[_Pair], mode: str, num_samples: int, seed: int
) -> Tensor:
    """[B] sums over the scored tokens, of rows of one length."""
    device = dit.device
    x0 = torch.tensor([[*pairs[row][0], *pairs[row][1]] for row, _ in draws], device=device)
    number = torch.tensor([draw for _, draw in draws], device=device)
    keys = row_keys(seed, [pairs[row][0] for row, _ in draws], [0] * len(draws), device)
    first = torch.tensor([_first(pairs[row], mode) for row, _ in draws], device=device)
    columns = torch.arange(x0.shape[1], device=device)
    scored = columns >= first[:, None]
    level = uniforms(keys, Stream.COUNT, number, torch.zeros_like(number)[:, None])[:, 0]
    t = times_of_draws(level, number, num_samples)
    if isinstance(dit.process, D3PM):
        t = on_grid(t)
    noise = uniforms(keys, Stream.RANK, number, columns.expand(len(draws), -1))
    z = dit.diffusion.noised(x0, dit.schedule.alpha(t)[:, None], noise)
    nats = dit.nelbo_of_noise(x0, z.where(scored, x0), t)
    return -(nats * scored).sum(dim=1)


def times_of_draws(uniform: Tensor, number: Tensor, num_samples: int) -> Tensor:
    """[B] times in [1e-3, 1), one of each of `num_samples` equal strata: of numbers in (0, 1), and of which draw."""
    return (1 - LEAST_TIME) * (((uniform + number) / num_samples) % 1) + LEAST_TIME


def _reconstructions(
    dit: DiT, rows: Sequence[int], pairs: Sequence[_Pair], mode: str, batch_size: int
) -> dict[int, float]:
    """Of d3pm, what its last step says of the clean rows, which no noise changes."""
    if not isinstance(dit.process, D3PM):
        return {}
    found = {}
    for some in _of_one_length(rows, [pairs[row] for row in rows], batch_size):
        x0 = torch.tensor([[*pairs[row][0], *pairs[row][1]] for row in some], device=dit.device)
        for row, nats in zip(some, dit.reconstruction(x0), strict=True):
            found[row] = -float(nats[_first(pairs[row], mode) :].sum())
    return found


def _first(pair: _Pair, mode: str) -> int:
    """The first column that is scored."""
    return 0 if mode == "joint" else len(pair[0])


def _of_one_length(items: Sequence, pairs: Sequence[_Pair], size: int) -> Iterator[list]:
    """The items in batches whose pairs, one an item, have rows of one length."""
    lengths = [len(context) + len(target) for context, target in pairs]
    order = sorted(range(len(items)), key=lambda index: lengths[index])
    for _, group in groupby(order, key=lambda index: lengths[index]):
        same = [items[index] for index in group]
        yield from (same[start : start + size] for start in range(0, len(same), size))


def _check(dit: DiT, pairs: Sequence[_Pair], mode: str, num_samples: int, batch_size: int) -> None:
    if mode not in MODES:
        raise ValueError(unknown_value("mode", mode, MODES))
    if dit.algo == "ar" and mode == "joint":
        raise ValueError("`mode=joint` is of diffusions: ar says log p(target | context) exactly; use suffix")
    for name, value in (("num_samples", num_samples), ("batch_size", batch_size)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"`{name}={value}` must be a whole number of at least 1")
    for context, target in pairs:
        if len(context) + len(target) > dit.max_length:
            raise ValueError(
                f"a row of {len(context)} and {len(target)} tokens is longer than the {dit.max_length} of "
                f"`{dit.source}`; cut its context from the left"
            )
        if dit.algo == "ar" and len(target) and not len(context):
            raise ValueError("ar says nothing of a row's first token: give a context, such as the begin token")
