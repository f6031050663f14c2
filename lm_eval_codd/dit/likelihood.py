"""Bounds of log p of given rows, by Monte Carlo over noise; for ar the exact value.

A row's noise is a function of (seed, its context, the draw), so that the choices of one question share it, and neither
other rows nor the batch change it.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.dit.processes.d3pm import D3PM, on_grid
from lm_eval_codd.dit.samplers.greedy import likeliest
from lm_eval_codd.dit.schedules import LEAST_TIME, sigma
from lm_eval_codd.settings import targets_with_mask, unknown_value
from lm_eval_codd.tensors.noise import Stream, row_keys, uniforms

if TYPE_CHECKING:
    from lm_eval_codd.dit.model import DiT

_logger = logging.getLogger("lm_eval.codd")

MODES: Final = ("suffix", "joint")
_TOKENS_OF_A_PASS: Final = 4096
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
        is_greedy: whether the target is the likeliest: of ar token by token, of the others in one step from all of it
            masked; of duo never, which has no such step. None where nobody asked.
    """

    value: float
    stderr: float | None
    num_forward: int
    num_tokens: int
    is_greedy: bool | None = None


@dataclass(frozen=True)
class Finished:
    """A bound as it is done: of which pair, and its share of the passes' wall time."""

    index: int
    bound: Bound
    seconds: float


def usual_mode(algo: str) -> str:
    """The mode where none is asked for."""
    return "joint" if algo == "duo" else "suffix"


def log_likelihood_bounds(
    dit: DiT,
    pairs: Sequence[_Pair],
    mode: str | None = None,
    num_samples: int = 128,
    seed: int = 1234,
    batch_size: int = 8,
    *,
    is_greedy: bool = False,
    noise_of: Sequence[Sequence[int]] | None = None,
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
        is_greedy: whether to find out if the target is the likeliest.
        noise_of: for each pair the ids that its noise is a function of. None: its context, so that targets of one
            context are compared under one noise, which does not average out over them: where rows without a context,
            or behind the same begin token, are to be averaged, give the rows themselves.

    Raises:
        ValueError: one line: a row is longer than the model's, or a setting says nothing.
    """
    finished = stream(dit, pairs, mode, num_samples, seed, batch_size, is_greedy=is_greedy, noise_of=noise_of)
    by_index = {one.index: one.bound for one in finished}
    scored = ((*context, *target) if (mode or usual_mode(dit.algo)) == "joint" else target for context, target in pairs)
    if dit.mask_id is not None and (number := sum(dit.mask_id in one for one in scored)):
        _logger.warning("%s", targets_with_mask(number, dit.mask_id))
    return [by_index[index] for index in range(len(pairs))]


def stream(
    dit: DiT,
    pairs: Sequence[_Pair],
    mode: str | None = None,
    num_samples: int = 128,
    seed: int = 1234,
    batch_size: int | None = 8,
    *,
    is_greedy: bool = False,
    noise_of: Sequence[Sequence[int]] | None = None,
    on_pass: Callable[[int], None] = lambda number: None,
) -> Iterator[Finished]:
    """The bounds of `log_likelihood_bounds`, each as soon as it is done, short rows first.

    Args:
        dit: as there.
        pairs: as there.
        mode: as there.
        num_samples: as there.
        seed: as there.
        batch_size: as there. None: each row's draws by themselves, some thousand tokens at once, so that a value is the
            same to the last bit whatever else is asked for.
        is_greedy: as there.
        noise_of: as there.
        on_pass: called with the number of rows after each pass of the network.
    """
    mode = mode or usual_mode(dit.algo)
    _check(dit, pairs, mode, num_samples, batch_size)
    contexts = [context for context, _ in pairs] if noise_of is None else noise_of
    rows = [
        _Row(index, tuple(context), tuple(target), mode, tuple(contexts[index]))
        for index, (context, target) in enumerate(pairs)
    ]
    yield from (Finished(row.index, Bound(0.0, 0.0, 0, 0), 0.0) for row in rows if not row.target)
    passes = [one for row in rows if row.target for one in _passes(dit, row, num_samples, is_greedy)]
    values: dict[int, list[tuple[_Pass, Tensor]]] = defaultdict(list)
    seconds: dict[int, float] = defaultdict(float)
    waiting = Counter(one.row.index for one in passes)
    for some in _batches_of_rows(passes) if batch_size is None else _batches(passes, batch_size):
        start = time.monotonic()
        computed = [each.cpu() for each in _COMPUTE[some[0].kind](dit, some, num_samples, seed)]
        share = (time.monotonic() - start) / len(some)
        on_pass(len(some))
        for one, value in zip(some, computed, strict=True):
            index = one.row.index
            values[index].append((one, value))
            seconds[index] += share
            waiting[index] -= 1
            if not waiting[index]:
                yield Finished(index, _bound(one.row, values.pop(index), dit.algo, is_greedy), seconds[index])


@dataclass(frozen=True)
class _Row:
    index: int
    context: tuple[int, ...]
    target: tuple[int, ...]
    mode: str
    noise_of: tuple[int, ...]

    @property
    def tokens(self) -> tuple[int, ...]:
        return self.context + self.target

    @property
    def first(self) -> int:
        """The first column that is scored."""
        return 0 if self.mode == "joint" else len(self.context)


@dataclass(frozen=True)
class _Pass:
    """What the network is asked of a row at once: `draw`, `chain` (of ar), `clean` (of d3pm) or `greedy`."""

    kind: str
    row: _Row
    draw: int = 0


def _passes(dit: DiT, row: _Row, num_samples: int, is_greedy: bool) -> Iterator[_Pass]:
    if dit.autoregressive is not None:
        yield _Pass("chain", row)
        return
    yield from (_Pass("draw", row, draw) for draw in range(num_samples))
    if isinstance(dit.process, D3PM):
        yield _Pass("clean", row)
    if is_greedy and dit.mask_id is not None:
        yield _Pass("greedy", row)


def _batches(passes: Sequence[_Pass], size: int) -> Iterator[list[_Pass]]:
    """Batches of one kind and one length, so that no row needs padding; the passes of a row stay together."""
    ordered = sorted(passes, key=lambda one: (len(one.row.tokens), one.kind))
    for _, group in groupby(ordered, key=lambda one: (len(one.row.tokens), one.kind)):
        same = list(group)
        yield from (same[start : start + size] for start in range(0, len(same), size))


def _batches_of_rows(passes: Sequence[_Pass]) -> Iterator[list[_Pass]]:
    """Batches of one kind and one row."""
    for (_, row), group in groupby(passes, key=lambda one: (one.kind, one.row)):
        same, size = list(group), max(1, _TOKENS_OF_A_PASS // len(row.tokens))
        yield from (same[start : start + size] for start in range(0, len(same), size))


def _bound(row: _Row, values: Sequence[tuple[_Pass, Tensor]], algo: str, is_greedy: bool) -> Bound:
    """Of all of a row's passes, in any order."""
    by_kind: dict[str, list[Tensor]] = defaultdict(list)
    for one, computed in sorted(values, key=lambda each: each[0].draw):
        by_kind[one.kind].append(computed)
    if "chain" in by_kind:
        log_p, all_likely = by_kind["chain"][0].tolist()
        return Bound(log_p, 0.0, 1, len(row.target), bool(all_likely) if is_greedy else None)
    draws = torch.stack(by_kind["draw"])
    value = float(draws.mean()) + sum(map(float, by_kind["clean"]))
    stderr = None if len(draws) == 1 else float(draws.std()) / math.sqrt(len(draws))
    if value == -math.inf:  # a token that is ruled out under one noise: no other noise changes that
        stderr = 0.0
    greedy = None if not is_greedy else algo != "duo" and bool(by_kind["greedy"][0])
    return Bound(value, stderr, len(values), len(row.tokens) - row.first, greedy)


def _ids(dit: DiT, passes: Sequence[_Pass]) -> Tensor:
    """[B, L]. Raises `ValueError`, one line, for ids beyond the vocabulary."""
    return dit.checked(torch.tensor([one.row.tokens for one in passes]))


@torch.inference_mode()
def _chained(dit: DiT, passes: Sequence[_Pass], num_samples: int, seed: int) -> Tensor:
    """[B, 2] of ar: log p of the targets, and whether each of their tokens is the likeliest."""
    nats, likely = dit.chain_rule(_ids(dit, passes))
    targets = [slice(-len(one.row.target), None) for one in passes]
    return torch.stack(
        [
            torch.stack((-each[target].sum(), greedy[target].all().double()))
            for each, greedy, target in zip(nats, likely, targets, strict=True)
        ]
    )


@torch.inference_mode()
def _drawn(dit: DiT, passes: Sequence[_Pass], num_samples: int, seed: int) -> Tensor:
    """[B] sums over the scored tokens."""
    device, x0 = dit.device, _ids(dit, passes)
    number = torch.tensor([one.draw for one in passes], device=device)
    keys = row_keys(seed, [one.row.noise_of for one in passes], [0] * len(passes), device)
    columns = torch.arange(x0.shape[1], device=device)
    scored = columns >= torch.tensor([one.row.first for one in passes], device=device)[:, None]
    level = uniforms(keys, Stream.COUNT, number, torch.zeros_like(number)[:, None])[:, 0]
    t = times_of_draws(level, number, num_samples)
    if isinstance(dit.process, D3PM):
        t = on_grid(t)
    noise = uniforms(keys, Stream.RANK, number, columns.expand(len(passes), -1))
    z = dit.diffusion.noised(x0, dit.schedule.alpha(t)[:, None], noise)
    nats = dit.nelbo_of_noise(x0, z.where(scored, x0), t)
    return -(nats * scored).sum(dim=1)


@torch.inference_mode()
def _cleaned(dit: DiT, passes: Sequence[_Pass], num_samples: int, seed: int) -> Tensor:
    """[B] of d3pm: what its last step says of the clean rows, which no noise changes."""
    nats = dit.reconstruction(_ids(dit, passes))
    return torch.stack([-each[one.row.first :].sum() for each, one in zip(nats, passes, strict=True)])


@torch.inference_mode()
def _greedy(dit: DiT, passes: Sequence[_Pass], num_samples: int, seed: int) -> Tensor:
    """[B] bool: whether each token of the target is the likeliest where all of it is masked."""
    x0 = _ids(dit, passes)
    assert dit.mask_id is not None
    columns = torch.arange(x0.shape[1], device=x0.device)
    target = columns >= torch.tensor([len(one.row.context) for one in passes], device=x0.device)[:, None]
    alpha = dit.schedule.alpha(torch.ones((), dtype=torch.float64, device=x0.device))
    z = x0.masked_fill(target, dit.mask_id)
    likely = likeliest(dit, z, dit.hidden(z, sigma(alpha).expand(len(z))), alpha)
    return ((likely == x0) | ~target).all(dim=1)


_COMPUTE: Final = {"chain": _chained, "draw": _drawn, "clean": _cleaned, "greedy": _greedy}


def times_of_draws(uniform: Tensor, number: Tensor, num_samples: int) -> Tensor:
    """[B] times in [1e-3, 1), one of each of `num_samples` equal strata: of numbers in (0, 1), and of which draw."""
    return (1 - LEAST_TIME) * (((uniform + number) / num_samples) % 1) + LEAST_TIME


def _check(dit: DiT, pairs: Sequence[_Pair], mode: str, num_samples: int, batch_size: int | None) -> None:
    if mode not in MODES:
        raise ValueError(unknown_value("mode", mode, MODES))
    if dit.algo == "ar" and mode == "joint":
        raise ValueError("`mode=joint` is of diffusions: ar says log p(target | context) exactly; use suffix")
    for name, value in (("num_samples", num_samples), ("batch_size", 1 if batch_size is None else batch_size)):
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
