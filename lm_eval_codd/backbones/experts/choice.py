"""The two ways to pair tokens with experts, as pure functions of the router's logits.

Every map is [B, S, E] bool, which experts compute a position, and its gates [B, S, E] float32 are 0 elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

# Of the authors' code, beside sums that may be 0.
_TINY = 1e-20


class Choice(NamedTuple):
    """Which experts compute which positions.

    map: [B, S, E] bool.
    gates: [B, S, E] float32.
    """

    map: Tensor
    gates: Tensor


class Picks(NamedTuple):
    """What each expert takes of each row, the best first.

    positions: [B, C, E] int64.
    taken: [B, C, E] bool; where it is False, a row has fewer.
    """

    positions: Tensor
    taken: Tensor


def capacity(num_positions: Tensor, k: Tensor | int, num_experts: int) -> Tensor:
    """[B] int64: positions that each expert takes of rows of `num_positions` [B], at `k` experts a token."""
    return (num_positions * k).div(num_experts, rounding_mode="floor").clamp(min=1)


def most_wanted(scores: Tensor, valid: Tensor, capacities: Tensor, most: int) -> Picks:
    """Each expert's best positions of each row; of equal ones the lower position.

    Args:
        scores: [B, S, E].
        valid: [B, S] bool; the others are never taken.
        capacities: [B] int64.
        most: none of them is larger; known without waiting for the device.
    """
    ranked = scores.masked_fill(~valid[:, :, None], -torch.inf)
    positions = ranked.sort(dim=1, descending=True, stable=True).indices[:, :most]
    ranks = torch.arange(positions.shape[1], device=scores.device)
    allowed = ranks[None] < torch.minimum(capacities, valid.sum(dim=1))[:, None]
    return Picks(positions, allowed[:, :, None].expand_as(positions))


def expert_choice(
    logits: Tensor,
    k: Tensor | int,
    *,
    gates: str,
    valid: Tensor | None = None,
    scope: str = "sequence",
    scale: float = 1.0,
    factors: Tensor | None = None,
    most_k: int | None = None,
) -> tuple[Choice, Picks]:
    """Every expert picks the positions with its largest logits, `k` experts a token on average.

    Args:
        logits: [B, S, E] float32.
        k: one for all rows, or [B] int64.
        gates: `pre`, softmax over all experts, by which they pick too; `post`, softmax over the experts that picked a
            position; `sigmoid`, their sigmoids, divided by their sum.
        valid: [B, S] bool: positions that take part; None: all.
        scope: `sequence`, or `batch`, where all rows compete, and the largest `k` counts for all.
        scale: multiplies the gates.
        factors: [E + 1]: multiplies the gates of a position by that of the number of experts that picked it.
        most_k: no `k` is larger; needed where it is a tensor, so that nothing waits for the device.

    Returns:
        The map with its gates, and the same as what each expert takes: [1, C, E] of the flattened batch where all
        rows compete.
    """
    num_rows, length, num_experts = logits.shape
    valid = torch.ones(num_rows, length, dtype=torch.bool, device=logits.device) if valid is None else valid
    scores = logits.softmax(dim=-1) if gates == "pre" else logits
    if scope == "batch":
        scores, competing = scores.flatten(0, 1)[None], valid.flatten()[None]
        k = k.max() if isinstance(k, torch.Tensor) else k
    else:
        competing = valid
    most = max(competing.shape[1] * _largest(k, most_k, num_experts) // num_experts, 1)
    picks = most_wanted(scores, competing, capacity(competing.sum(dim=1), k, num_experts), most)
    chosen = torch.zeros(scores.shape, dtype=torch.bool, device=logits.device)
    chosen = chosen.scatter(1, picks.positions, picks.taken).view_as(logits)
    weights = _weights(logits, chosen, gates) * scale
    if factors is not None:
        weights = weights * factors[chosen.sum(dim=-1)][..., None]
    return Choice(chosen, weights), picks


def token_choice(
    logits: Tensor, k: int, *, gates: str, capacity_factor: float | None = None, factor: float = 1.0
) -> tuple[Choice, Tensor]:
    """Every token picks the `k` experts with its largest logits.

    Args:
        logits: [T, E] float32.
        k: experts of a token.
        gates: as for `expert_choice`, of the experts that it picked.
        capacity_factor: an expert keeps the `ceil(T k / E * capacity_factor)` tokens with its largest gates, and the
            others lose it; tokens of a batch then depend on one another. None: it keeps all.
        factor: multiplies the gates.

    Returns:
        The map with its gates [T, E], and [E] int64, how many tokens picked each expert before any lost it.
    """
    num_tokens, num_experts = logits.shape
    chosen = torch.zeros_like(logits, dtype=torch.bool).scatter(1, logits.topk(k, dim=-1).indices, True)
    weights = _weights(logits, chosen, gates) * factor
    tokens_per_expert = chosen.sum(dim=0)
    if capacity_factor is not None:
        kept = min(-int(-(num_tokens * k / num_experts * capacity_factor) // 1), num_tokens)
        best = weights.sort(dim=0, descending=True, stable=True).indices[:kept]
        chosen = chosen & torch.zeros_like(chosen).scatter(0, best, True)
        weights = weights * chosen
    return Choice(chosen, weights), tokens_per_expert


def _largest(k: Tensor | int, most_k: int | None, num_experts: int) -> int:
    if isinstance(k, int):
        return k
    return num_experts if most_k is None else most_k


def _weights(logits: Tensor, chosen: Tensor, gates: str) -> Tensor:
    """[..., E] float32, 0 where an expert did not pick a position or a position an expert."""
    if gates == "pre":
        return logits.softmax(dim=-1) * chosen
    if gates == "sigmoid":
        values = logits.sigmoid() * chosen
    else:
        # Nobody picked a position of nothing but -inf: its maximum is set to 0, its gates are 0 / 1e-20.
        picked = logits.masked_fill(~chosen, -torch.inf)
        highest = picked.amax(dim=-1, keepdim=True)
        values = (picked - highest.masked_fill(highest == -torch.inf, 0)).exp()
    return values / (values.sum(dim=-1, keepdim=True) + _TINY)
