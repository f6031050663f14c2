"""Remasking rules: how sure a position is of its candidate. The surest are committed first, the others masked again.

A rule is a function (support, index, uniform) -> [B, P] float64 of the candidates' entries `index` [B, P] in the
support's softmax. The scores are those of the official code (spec/decoding.md 2.2, 2.3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.decoding.candidates import Support

Rule = Callable[["Support", "Tensor", "Tensor"], "Tensor"]


def low_confidence(support: Support, index: Tensor, uniform: Tensor) -> Tensor:
    """Probability of the candidate.

    Computed from the log-odds against all other tokens, so that probabilities which float32 would round to 1 keep
    the order that a float64 softmax gives them.
    """
    index = index[..., None]
    own = support.values.gather(-1, index)
    others = support.values.scatter(-1, index, -torch.inf).logsumexp(dim=-1)
    own = own[..., 0]
    return torch.sigmoid((own - others).double()).masked_fill(own == -torch.inf, 0.0)


def margin(support: Support, index: Tensor, uniform: Tensor) -> Tensor:
    """Probability of the most likely token less that of the second."""
    values = support.values
    top = values.topk(min(2, values.shape[-1]), dim=-1).values
    probabilities = (top - values.logsumexp(dim=-1, keepdim=True)).double().exp()
    if probabilities.shape[-1] == 1:
        return probabilities[..., 0]
    return probabilities[..., 0] - probabilities[..., 1]


def entropy(support: Support, index: Tensor, uniform: Tensor) -> Tensor:
    """Negative entropy of the distribution, sum of p log(p + 1e-10)."""
    probabilities = support.values.softmax(dim=-1)
    return (probabilities * torch.log(probabilities + 1e-10)).sum(dim=-1).double()


def random(support: Support, index: Tensor, uniform: Tensor) -> Tensor:
    """A uniform number."""
    return uniform


RULES: Final[dict[str, Rule]] = {
    "low_confidence": low_confidence,
    "margin": margin,
    "entropy": entropy,
    "random": random,
}
