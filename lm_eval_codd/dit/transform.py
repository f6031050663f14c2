"""From Gaussian noise to uniform noise: DUO's diffusion transformation operator (arXiv 2506.10892).

w = sqrt(sigmoid(-gamma)) onehot(x0) + sqrt(sigmoid(gamma)) eps with eps ~ N(0, I): the argmax of w is x0 with
probability p(gamma), and any other id alike, as under uniform noise with alpha = (K p - 1) / (K - 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

# Enough for 1e-13 with vocabularies of up to 5e4.
_NUM_POINTS: Final = 401
_FARTHEST: Final = 12.0

Probability = Callable[[Tensor], Tensor]


def diffusion_transform(gamma: Tensor, vocab_size: int) -> tuple[Tensor, Tensor]:
    """(p, dp / dgamma) of log noise-to-signal ratios, float64 of the shape of `gamma`; by the integral, with no table.

    p = E[Phi(mu + u)^(K - 1)] for u ~ N(0, 1), mu = exp(-gamma / 2) and K = `vocab_size`, by the trapezoidal rule.
    """
    gamma = gamma.double()
    u = torch.linspace(-_FARTHEST, _FARTHEST, _NUM_POINTS, dtype=torch.float64, device=gamma.device)
    density = torch.exp(-u.square() / 2) / math.sqrt(2 * math.pi) * (u[1] - u[0])
    density[[0, -1]] /= 2
    mu = torch.exp(-gamma / 2)
    largest = torch.exp((vocab_size - 1) * torch.special.log_ndtr(mu[..., None] + u))
    # The sum is off by 1e-14, and with p above 1 alpha would be too.
    return (largest @ density).clamp(1 / vocab_size, 1), -mu / 2 * (largest @ (density * u))


def alpha_of(p: Tensor, vocab_size: int) -> Tensor:
    """What is left of the signal where the argmax is the clean id with probability `p`."""
    return (vocab_size * p - 1) / (vocab_size - 1)


def gaussian(x0: Tensor, eps: Tensor, gamma: Tensor) -> Tensor:
    """[B, L, V] w, in the dtype of the noise `eps` [B, L, V], from clean ids [B, L] and gamma [B]."""
    signal, noise = ((torch.sigmoid(sign * gamma).sqrt()[:, None, None]).to(eps.dtype) for sign in (-1, 1))
    return (noise * eps).scatter_add(-1, x0[..., None], signal.expand(*x0.shape, 1))
