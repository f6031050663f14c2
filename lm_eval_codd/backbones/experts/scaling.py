"""EC-DLM's scaling factors: what makes a token's routed output as large as its shared expert's, by simulation.

10,000 random softmaxes a number of experts, always the same ones (NumPy's legacy generator, seed 42).
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NUM_DRAWS: Final = 10_000
_SEED: Final = 42


@cache
def expert_choice_factors(num_experts: int, num_shared: int) -> tuple[float, ...]:
    """Factors by the number of experts that picked a token, 0 to `num_experts`.

    As in the authors' code, k experts have the first k shares of a draw, not the largest.

    Args:
        num_experts: E.
        num_shared: width of the shared expert, in experts.
    """
    random = np.random.RandomState(_SEED)
    factors = [1.0]
    for k in range(1, num_experts + 1):
        shares = _softmax(random.randn(_NUM_DRAWS, num_experts))[:, :k]
        factors.append(_mean_factor(shares / shares.sum(axis=1, keepdims=True), num_shared))
    return tuple(factors)


@cache
def token_choice_factor(num_experts: int, k: int, num_shared: int, *, activation: str, renormalised: bool) -> float:
    """The one factor of tokens that pick `k` experts each.

    Args:
        num_experts: E.
        k: experts of a token.
        num_shared: width of the shared expert, in experts.
        activation: `softmax` or `sigmoid`.
        renormalised: whether the gates of a token add up to 1.
    """
    logits = np.random.RandomState(_SEED).randn(_NUM_DRAWS, num_experts)
    values = _softmax(logits) if activation == "softmax" else 1 / (1 + np.exp(-logits))
    largest = -np.sort(-values, axis=1)[:, :k]
    return _mean_factor(largest / largest.sum(axis=1, keepdims=True) if renormalised else largest, num_shared)


def _mean_factor(gates: NDArray[np.float64], num_shared: int) -> float:
    return float(np.mean(math.sqrt(num_shared) / np.linalg.norm(gates, axis=1)))


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
