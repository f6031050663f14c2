"""Path planning (P2) for latent_mdm: all masks are filled in each step, and what scores least is masked again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lm_eval_codd.latent.model import CouplingModel
    from lm_eval_codd.latent.noise import Noise

_TINY = 1e-8


def planned(
    model: CouplingModel, z: Tensor, tokens: Tensor, steps: int, tau: float, eta: float, noise: Noise
) -> Tensor:
    """[B, T] ids.

    Args:
        model: a latent_mdm.
        z: [B, T, d] latents.
        tokens: [B, T] to start from; what is no mask stays.
        steps: forwards.
        tau: of the Gumbel noise on the logits, which scores share; 0: none.
        eta: multiplies the log-probability that visible tokens are scored by: above 1 they are masked again sooner, 0
            takes none back.
        noise: see `Noise`.
    """
    assert model.mask_id is not None
    fixed, drawn = tokens != model.mask_id, tokens
    for step in range(1, steps + 1):
        masked = tokens == model.mask_id
        drawn, scores = _candidates(model, z, tokens, tau, noise, step)
        scores = torch.where(masked, scores, scores * eta).masked_fill(fixed, torch.inf)
        again = lowest(scores, num_remasked(fixed, step * (1 / steps)))
        tokens = torch.where(masked & ~again, drawn, tokens).masked_fill(again, model.mask_id)
    return torch.where(tokens == model.mask_id, drawn, tokens)


def num_remasked(fixed: Tensor, share: float) -> Tensor:
    """[B] how many positions are masked after a share of the steps, from which ones are fixed [B, T]."""
    # In float32, then cut: as the official code counts.
    return ((~fixed).sum(dim=1).float() * (1 - share)).long()


def lowest(scores: Tensor, number: Tensor) -> Tensor:
    """[B, T]: what scores strictly below the n-th least (from 0) of its row, n being `number` [B]."""
    cut = scores.sort(dim=1).values.gather(1, number.clamp(max=scores.shape[1] - 1)[:, None])
    return scores < cut


def _candidates(
    model: CouplingModel, z: Tensor, tokens: Tensor, tau: float, noise: Noise, step: int
) -> tuple[Tensor, Tensor]:
    """[B, T] ids, and their log-probabilities in float64."""
    logits = torch.nan_to_num(model.logits(z, tokens))
    logits[..., model.mask_id] = -torch.inf
    exact = logits.double()
    if tau > 0:
        exact = exact / tau - (-(noise.uniform(step, exact.shape) + _TINY).log() + _TINY).log()
    scores, drawn = exact.log_softmax(dim=-1).max(dim=-1)
    return drawn, scores
