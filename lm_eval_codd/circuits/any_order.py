"""Any-order decoding (arXiv 2603.00045, section 5.1): commit one token, condition on it, look again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lm_eval_codd.circuits.posterior import Posterior


@dataclass(frozen=True, slots=True, eq=False)
class AnyOrder:
    """What was committed.

    Attributes:
        tokens: [B, T] int64, the tokens known now: the observed ones and those committed; -1 elsewhere.
        order: [B, K] int64, positions in the order they were committed; -1 where a row had no more to commit.
        confidence: [B, K], confidence of each when it was committed; NaN where there is none.
    """

    tokens: Tensor
    order: Tensor
    confidence: Tensor


def greedy(marginals: Tensor) -> tuple[Tensor, Tensor]:
    """The most likely token of each marginal [M, V], and its probability: tokens [M], confidences [M]."""
    confidence, tokens = marginals.max(-1)
    return tokens, confidence


def any_order(
    posterior: Posterior,
    counts: Tensor,
    *,
    allowed: Tensor | None = None,
    choose: Callable[[Tensor], tuple[Tensor, Tensor]] = greedy,
) -> AnyOrder:
    """Commit `counts` tokens a row, one by one, each from its exact marginal given all committed before it.

    Costs one product with the emission table for each token committed (rows are batched).

    Args:
        posterior: the window under its evidence.
        counts: [B] int64, tokens to commit in each row.
        allowed: [B, T] bool, positions that may be committed; None allows every masked one.
        choose: from marginals [M, V] of masked positions to a token and a confidence for each; the most confident
            position of each row is committed, the leftmost on ties.
    """
    num_rows = len(posterior.observed)
    allowed = torch.ones_like(posterior.observed, dtype=torch.bool) if allowed is None else allowed
    counts = torch.minimum(counts, (allowed & (posterior.observed < 0)).sum(-1))
    most = int(counts.max()) if num_rows else 0
    order = posterior.observed.new_full((num_rows, most), -1)
    confidence = posterior.log_leaf.new_full((num_rows, most), torch.nan)
    tokens = posterior.observed.clone()
    for k in range(most):
        active = (counts > k).nonzero()[:, 0]
        current = posterior.select(active)
        masked = current.observed < 0
        chosen, scores = choose(current.masked_token_marginals())
        tokens_here = current.observed.masked_scatter(masked, chosen)
        scores_here = torch.full_like(confidence[:1, :1], -torch.inf).expand_as(masked).masked_scatter(masked, scores)
        best, position = scores_here.masked_fill(~(masked & allowed[active]), -torch.inf).max(-1)
        token = tokens_here.gather(1, position[:, None])[:, 0]

        order[active, k], confidence[active, k], tokens[active, position] = position, best, token
        if k + 1 < most:
            posterior = posterior.observe(tokens)
    return AnyOrder(tokens, order, confidence)
