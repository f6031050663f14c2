"""One-step sampling: a token a position, each for itself once the latent is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.latent.noise import Noise

# What stands in for logits that are no numbers.
_GENERATOR_LIMIT = 50.0
_FLOW_LIMIT = 10.0
_LEAST_MASS = 1e-8


def of_generator(logits: Tensor, temperature: float, top_p: float, noise: Noise) -> Tensor:
    """[B, T] ids of the logits [B, T, V] of v3 and lm1b; at temperature 0 the likeliest, and nothing is drawn."""
    logits = torch.nan_to_num(logits, nan=0.0, posinf=_GENERATOR_LIMIT, neginf=-_GENERATOR_LIMIT)
    if temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = (logits / temperature).softmax(dim=-1)
    if top_p >= 1:
        return noise.choose(probabilities)
    ordered, order = probabilities.sort(dim=-1, descending=True)
    kept = ordered.masked_fill(ordered.cumsum(dim=-1) - ordered >= top_p, 0.0)
    kept = kept / kept.sum(dim=-1, keepdim=True).clamp(min=_LEAST_MASS)
    return order.gather(-1, noise.choose(kept)[..., None])[..., 0]


def of_flow(logits: Tensor, temperature: float, top_p: float, noise: Noise) -> Tensor:
    """[B, T] ids of the logits [B, T, V] of a Stage A, which its code cuts and draws in another way."""
    logits = torch.nan_to_num(logits, nan=0.0, posinf=_FLOW_LIMIT, neginf=-_FLOW_LIMIT)
    if temperature == 0:
        return logits.argmax(dim=-1)
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / temperature
    if top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        mass = ordered.softmax(dim=-1)
        beyond = mass.cumsum(dim=-1) - mass > top_p
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -torch.inf)
    return noise.choose(logits.softmax(dim=-1))
