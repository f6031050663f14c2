"""The greedy tail: noise is removed by the likeliest clean token."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.dit.model import DiT


def likeliest(dit: DiT, tokens: Tensor, hidden: Tensor, alpha: Tensor) -> Tensor:
    """[B, L] ids, from noisy ones and the network's hidden states of them [B, L, d].

    DUO's paper has the argmax of the posterior, its code that of x_theta, which this follows.
    """
    process, flat, states = dit.diffusion, tokens.flatten(), hidden.flatten(0, 1)
    likely = flat.clone()
    for places in process.is_uncertain(flat).nonzero()[:, 0].split(dit.piece):
        log_x = process.log_x(dit.head(states[places]), flat[places], alpha)
        likely[places] = process.log_clean(log_x).argmax(dim=-1)
    return likely.view_as(tokens)
