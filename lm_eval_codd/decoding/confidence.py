"""Remasking rules: how sure a position is of its candidate. The surest are committed first, the others masked again.

A rule is a function (support, index, uniform) -> [N] float64 of the candidates' entries `index` [N] in the support's
softmax; only `random` reads `uniform` [N]. The scores are those of the official code (spec/decoding.md 2.2, 2.3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.decoding.candidates import Support

Rule = Callable[["Support", "Tensor", "Tensor | None"], "Tensor"]


def low_confidence(support: Support, index: Tensor, uniform: Tensor | None) -> Tensor:
    """Probability of the candidate.

    Computed from its share and that of all others together, so that probabilities which float32 would round to 1 keep
    the order that a float64 softmax gives them.
    """
    probabilities = support.values.softmax(dim=-1)
    index = index[..., None]
    own = probabilities.gather(-1, index)[..., 0].double()
    others = probabilities.scatter_(-1, index, 0.0).sum(dim=-1).double()
    ruled_out = support.values.gather(-1, index)[..., 0].isneginf()
    return (own / (own + others)).masked_fill(ruled_out, 0.0)


def margin(support: Support, index: Tensor, uniform: Tensor | None) -> Tensor:
    """Probability of the most likely token less that of the second.

    From the shares of all tokens but the first, for the reason that `low_confidence` has.
    """
    probabilities = support.values.softmax(dim=-1)
    top = probabilities.topk(min(2, probabilities.shape[-1]), dim=-1)
    first, second = top.values[..., 0].double(), top.values[..., 1:].sum(dim=-1).double()
    others = probabilities.scatter_(-1, top.indices[..., :1], 0.0).sum(dim=-1).double()
    return (first - second) / (first + others)


def entropy(support: Support, index: Tensor, uniform: Tensor | None) -> Tensor:
    """Negative entropy of the distribution, sum of p log(p + 1e-10)."""
    probabilities = support.values.softmax(dim=-1)
    return (probabilities + 1e-10).log_().mul_(probabilities).sum(dim=-1).double()


def random(support: Support, index: Tensor, uniform: Tensor | None) -> Tensor:
    """A uniform number."""
    assert uniform is not None  # drawn for this rule
    return uniform


RULES: Final[dict[str, Rule]] = {
    "low_confidence": low_confidence,
    "topprob": low_confidence,  # of the most likely token of all, where `DecodingConfig.tells_topprob_apart`
    "margin": margin,
    "entropy": entropy,
    "random": random,
}
