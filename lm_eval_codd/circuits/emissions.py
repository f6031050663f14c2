"""Where evidence meets the emission table: the leaves, one number for each position and latent."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import reduce
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.circuits.chain import LEAST_SHARE, widest

if TYPE_CHECKING:
    from lm_eval_codd.circuits.tables import Tables

# Rows of evidence turned into weights at a time: bounds the copy without starving the matrix product.
_ROWS_AT_A_TIME: Final = 256
# Leaves redone in log space at a time; each takes a row of the emission table.
_ROWS_IN_LOGS: Final = 32
# Columns of the emission table converted at a time where the product runs in a wider dtype than the table's.
_COLUMNS_AT_A_TIME: Final = 8192


def leaves(
    circuit: Tables, evidence: Tensor, which: Tensor | None, places: Tensor, observed: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Log leaves [B, T, H] up to a scale for each position, and that log scale [B, T], in `dtype`.

    Args:
        circuit: whose emissions.
        evidence: [N, V] log evidence.
        which: [M], the rows of `evidence` that belong to the masked positions; None when it has theirs alone, in order.
        places: [M], where the masked positions stand in `observed.flatten()`.
        observed: [B, T], the token where known and negative where masked.
        dtype: of the weights, the products and the answer.
    """
    soft = torch.empty(len(places), circuit.num_latents, dtype=dtype, device=circuit.device)
    scale = torch.empty(len(places), dtype=dtype, device=circuit.device)
    for table, part in by_table(circuit, places, evidence.shape[-1]):
        own = (evidence[part] if which is None else evidence[which[part]]).to(dtype)
        top = own.amax(-1, keepdim=True)
        # Without a finite top the weights are NaN, and so is the row's mass.
        soft[part] = _weighted_sum((own - top).exp_(), table).to(dtype)
        scale[part] = top[:, 0]
    leaf = known_leaves(circuit, observed).to(dtype).flatten(0, 1).index_copy(0, places, soft)
    log_scale = scale.new_zeros(observed.numel()).index_copy_(0, places, scale)
    return leaf.log_().unflatten(0, observed.shape), log_scale.view_as(observed)


def exact_leaves(
    circuit: Tables, evidence: Tensor, which: Tensor, places: Tensor, observed: Tensor
) -> tuple[Tensor, Tensor]:
    """`leaves` in the widest dtype, and in log space where its range ends too; arguments as there.

    Waits for the device, and takes a pass over a latent's whole emissions for each leaf that is redone in log space.
    """
    log_leaf, log_scale = leaves(circuit, evidence, which, places, observed, wide := widest(circuit.device))
    rows = which.new_zeros(observed.numel()).index_copy_(0, places, which)
    is_lost = (log_leaf < math.log(LEAST_SHARE[wide])) & (observed < 0)[..., None]
    for lost in is_lost.nonzero().split(_ROWS_IN_LOGS):
        row, position, latent = lost.unbind(1)
        place = row * circuit.num_positions + position
        weights = evidence[rows[place]].to(wide) - log_scale.flatten()[place][:, None]
        spoken = log_emission(circuit, latent, position, evidence.shape[-1]).to(wide)
        log_leaf[row, position, latent] = spoken.add_(weights).logsumexp(-1)
    return log_leaf, log_scale


def known_leaves(circuit: Tables, tokens: Tensor) -> Tensor:
    """[B, T, H]: p(token | z) of tokens [B, T]; what stands where a token is negative means nothing."""
    tokens = tokens.clamp(min=0)
    if circuit.emission.dim() == 2:
        picked = circuit.emission.T[tokens]
    else:
        positions = torch.arange(circuit.num_positions, device=tokens.device)
        picked = circuit.emission.transpose(1, 2)[positions, tokens]
    return picked.to(circuit.dtype)


def log_emission(circuit: Tables, latents: Tensor, positions: Tensor, vocab_size: int) -> Tensor:
    """[..., V]: log p(x | z) of the given latents at the given positions, over the first `vocab_size` tokens."""
    table = circuit.emission[..., :vocab_size]
    picked = table[latents] if table.dim() == 2 else table[positions, latents]
    return picked.to(circuit.dtype).log_()


def by_table(circuit: Tables, places: Tensor, vocab_size: int) -> Iterator[tuple[Tensor, slice | Tensor]]:
    """Split M places (of B * T) into parts that share an emission table: (table [H, V], which of the M).

    Where each position has a table of its own, finding its group waits for the device.
    """
    table = circuit.emission[..., :vocab_size]
    if table.dim() == 2:
        for start in range(0, len(places), _ROWS_AT_A_TIME):
            yield table, slice(start, start + _ROWS_AT_A_TIME)
        return
    positions = places % circuit.num_positions
    all_positions = torch.arange(circuit.num_positions, device=places.device)
    counts = (positions == all_positions[:, None]).sum(1).tolist()
    for own_table, group in zip(table, positions.argsort(stable=True).split(counts), strict=True):
        for part in group.split(_ROWS_AT_A_TIME):
            if len(part):
                yield own_table, part


def _weighted_sum(weights: Tensor, table: Tensor) -> Tensor:
    """[M, H]: sum_v weights[m, v] table[h, v], read once."""
    if weights.dtype != torch.float64 or table.dtype == torch.float64:
        return weights.to(table.dtype) @ table.T
    columns = zip(weights.split(_COLUMNS_AT_A_TIME, 1), table.split(_COLUMNS_AT_A_TIME, 1), strict=True)
    products = (some_weights @ some_columns.T.double() for some_weights, some_columns in columns)
    total: Tensor = reduce(torch.add, products)
    return total
