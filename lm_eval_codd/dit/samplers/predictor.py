"""A step of the way back: from a time to the one before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lm_eval_codd.dit.processes import Process

# A bound of a probability in float64 may be off by what float32 logits round.
_MARGIN = 1 + 1e-5


@dataclass(frozen=True)
class Step:
    """From time t to s, for all rows.

    Attributes:
        number: 0 for the first.
        alpha_t, alpha_s: float64 of no dimension, on the model's device; alpha_s is 1 where noise is removed.
        is_removal: whether it is the last one, after the grid of times.
        kappa: of a Psi sampler, its share of the posterior.
    """

    number: int
    alpha_t: Tensor
    alpha_s: Tensor
    is_removal: bool = False
    kappa: float = 1.0


class Predictor(Protocol):
    """What the ids of a step are drawn from."""

    is_cached: bool
    """Whether a row that did not change needs no forward, where the network is not told the time."""

    def wanted(self, tokens: Tensor, step: Step, uniforms: Tensor | None) -> Tensor:
        """[B, L] bool: where ids have to be drawn; elsewhere they stay.

        Args:
            tokens: [B, L] int64.
            step: which one.
            uniforms: [B, L], by which they will be drawn (`draws.by_inverse`), so that those that they leave as they
                are need not be looked at; None where weights are wanted of all that may change.
        """
        ...

    def weights(self, log_x: Tensor, z: Tensor, step: Step) -> Tensor:
        """[N, V] weights to draw from, up to a scale of each row; that of the mask may be below 0."""
        ...


def masks_that_may_leave(process: Process, tokens: Tensor, step: Step, uniforms: Tensor | None) -> Tensor:
    """[B, L] bool: where the posterior of an absorbing process, or of a uniform one, may change an id.

    A masked position leaves with at most (alpha_s - alpha_t) / (1 - alpha_t), and does where its number is below.
    """
    changing = process.may_change(tokens)
    if uniforms is None or process.mask_id is None:
        return changing
    return changing & (uniforms < (step.alpha_s - step.alpha_t) / (1 - step.alpha_t) * _MARGIN)


def one_hot(ids: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """[N, V]."""
    return torch.zeros(len(ids), size, dtype=dtype, device=ids.device).scatter_(-1, ids[:, None], 1.0)
