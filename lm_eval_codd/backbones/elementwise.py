"""What a layer does between its matrix products, rounded as transformers' classes do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from lm_eval_codd.tensors.fused import fused

if TYPE_CHECKING:
    from torch import Tensor, nn

# A load's self-test has fewer numbers than that, and a pass worth waiting for more.
_LEAST = 1 << 18


@fused(least=_LEAST)
def rotate(cos: Tensor, sin: Tensor, states: Tensor) -> Tensor:
    """The rotary embedding of states [B, W, H, D], with `cos` and `sin` [B, W, 1, R].

    The halves of the first R are the two coordinates; the rest stays as it is.
    """
    rotated, rest = states.split((cos.shape[-1], states.shape[-1] - cos.shape[-1]), dim=-1)
    first, second = rotated.chunk(2, dim=-1)
    rotated = (rotated * cos + torch.cat((-second, first), dim=-1) * sin).to(states.dtype)
    return torch.cat((rotated, rest), dim=-1) if rest.shape[-1] else rotated


@fused(least=_LEAST)
def normed(norm: nn.Module, states: Tensor) -> Tensor:
    """What a norm makes of states [..., D]."""
    return cast("Tensor", norm(states))


@fused(least=_LEAST)
def normed_sum(norm: nn.Module, update: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """States [..., D] with an update of them, and what a norm makes of the sum."""
    states = states + update
    return states, norm(states)
