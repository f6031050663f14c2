"""Top-p on the predicted clean token."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def truncated(probabilities: Tensor, p_nucleus: float) -> Tensor:
    """[N, V] probabilities of the likeliest ids alone, renormalised.

    An id is kept while the mass of those before it is at most `p_nucleus`; 1 keeps all.
    """
    if p_nucleus == 1:
        return probabilities
    ordered, order = probabilities.sort(dim=-1, descending=True)
    kept = ordered.masked_fill(ordered.cumsum(dim=-1) - ordered > p_nucleus, 0.0)
    return probabilities.new_zeros(probabilities.shape).scatter_(-1, order, kept / kept.sum(dim=-1, keepdim=True))
