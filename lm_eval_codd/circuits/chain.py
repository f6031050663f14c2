"""The chain over a window's T latents, once the leaves stand: backward, forward, a draw, the best path.

    beta_t(i) = sum_j transition[i, j] leaf_t+1(j) beta_t+1(j)

runs right to left, and its messages leaf * beta are what draws and Viterbi need on the way back. Messages are logs; a
softmax takes them out of log space for one matrix product, so that very peaked evidence neither overflows nor vanishes.

Shapes are fixed by the arguments' and no value is looked at: nothing here waits for the device, but for
`passed_on_exactly`. A row without any mass comes out as NaN or -inf and leaves the others alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from lm_eval_codd.tensors.fused import fused

# A running sum that a device adds up as a tree may end a few roundings above where the last positive weight left it.
# This share of its end is passed there all the same.
_LARGEST_SHARE: Final = 1 - 2**-20


# A share of a softmax below this one may have lost digits to a dtype's range, or all of itself; the others have lost
# less than 1e-8 of theirs.
LEAST_SHARE: Final = {torch.float32: 1e-30, torch.float64: 1e-290}


def passed_on(log_values: Tensor, transition: Tensor) -> Tensor:
    """[B, H]: log sum_i values_i transition[i, j], up to a scale for each row."""
    return (log_values.softmax(-1) @ transition).log_()


def passed_on_exactly(log_values: Tensor, transition: Tensor) -> Tensor:
    """As `passed_on`; in log space for rows that outrun the dtype's range. Waits for the device."""
    log_shares = passed_on(log_values, transition)
    # What no value with a mass leads to is -inf rightly.
    is_reached = log_values.isfinite().to(transition.dtype) @ (transition > 0).to(transition.dtype)
    lost = runs_out(log_shares, is_reached > 0).nonzero()[:, 0].tolist()
    for row in lost:
        log_shares[row] = (log_values[row].log_softmax(-1)[:, None] + transition.log()).logsumexp(0)
    return log_shares


def runs_out(log_shares: Tensor, where: Tensor | None = None) -> Tensor:
    """[B] bool: rows of [B, ..., H] with a share that their dtype's range may have cut; only `where` that is true."""
    is_low = log_shares < math.log(LEAST_SHARE[log_shares.dtype])
    return (is_low if where is None else is_low & where).flatten(1).any(-1)


PassOn = Callable[[Tensor, Tensor], Tensor]


def backward(
    log_initial: Tensor, transitions: Tensor, log_leaf: Tensor, pass_on: PassOn = passed_on
) -> tuple[Tensor, Tensor]:
    """The backward chain, from right to left.

    Args:
        log_initial: [H].
        transitions: [T - 1, H, H], row = earlier latent.
        log_leaf: [B, T, H].
        pass_on: `passed_on` or `passed_on_exactly`.

    Returns:
        Log beta [B, T, H], up to a scale for each position, and the log mass of the leaves as T parts of a sum, [B, T]
        in the widest dtype; the parts of a row without mass hold NaN or -inf.
    """
    log_betas = [torch.zeros_like(log_leaf[:, 0])]
    for t in reversed(range(len(transitions))):
        log_betas.append(pass_on(log_leaf[:, t + 1] + log_betas[-1], transitions[t].T))
    log_beta = torch.stack(log_betas[::-1], 1)
    # What each softmax divided by, all at once, and the sum over the first latent. The peaks are the large part, and
    # exact; the rest keeps its digits.
    log_message = log_leaf + log_beta
    log_message[:, 0] += log_initial
    peak = log_message.amax(-1, keepdim=True)
    rest = (log_message - peak).exp_().sum(-1).log_()
    return log_beta, peak[..., 0].to(widest(rest.device)).add_(rest)


def forward(log_initial: Tensor, transitions: Tensor, log_leaf: Tensor, pass_on: PassOn = passed_on) -> Tensor:
    """[B, T, H]: log p(z_t, evidence to the left), up to a scale for each position; arguments as for `backward`."""
    log_predictions = [log_initial.expand_as(log_leaf[:, 0])]
    for t, transition in enumerate(transitions):
        log_predictions.append(pass_on(log_predictions[-1] + log_leaf[:, t], transition))
    return torch.stack(log_predictions, 1)


def draw(log_initial: Tensor, log_transitions: Tensor, log_message: Tensor, uniforms: Tensor) -> Tensor:
    """[B, T] int64: a latent path a row by inverse CDF, left to right; none of zero probability.

    Args:
        log_initial: [H].
        log_transitions: [T - 1, H, H].
        log_message: [B, T, H], log leaf plus log beta.
        uniforms: [B, T] in [0, 1).
    """
    shares = uniforms.clamp(max=_LARGEST_SHARE)
    order = torch.arange(len(log_initial), device=log_initial.device)
    latents = [_inverse_cdf(log_initial + log_message[:, 0], shares[:, :1], order)]
    for t in range(1, log_message.shape[1]):
        latents.append(_next(log_transitions[t - 1], latents[-1], shares[:, t, None], order, log_message[:, t]))
    return torch.stack(latents, 1)


def best_path(log_initial: Tensor, log_transitions: Tensor, log_leaf: Tensor) -> Tensor:
    """[B, T] int64: the most likely latent path of each row (Viterbi); the lowest latent on ties."""
    best = torch.zeros_like(log_leaf[:, 0])
    successors = []
    for t in reversed(range(len(log_transitions))):
        best, choice = (log_transitions[t] + (log_leaf[:, t + 1] + best)[:, None]).max(-1)
        successors.append(choice)
    latents = [(log_initial + log_leaf[:, 0] + best).argmax(-1, keepdim=True)]
    for choice in reversed(successors):
        latents.append(choice.gather(1, latents[-1]))
    return torch.cat(latents, 1)


def widest(device: torch.device) -> torch.dtype:
    """The widest float of a device; Apple's GPUs have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


@fused()
def _next(log_transition: Tensor, latents: Tensor, shares: Tensor, order: Tensor, log_message: Tensor) -> Tensor:
    """[B]: the latent after `latents` [B], drawn with the `shares` [B, 1]."""
    return _inverse_cdf(log_transition.index_select(0, latents) + log_message, shares, order)


def _inverse_cdf(log_weights: Tensor, shares: Tensor, order: Tensor) -> Tensor:
    """[B]: for each row, the first index whose cumulative weight exceeds the `shares` [B, 1] of the total.

    `order` are all indices [H]; the last one comes out where weights are NaN.
    """
    weights = log_weights.softmax(-1)
    cumulative = weights.cumsum(-1)
    beyond = cumulative > shares * cumulative[:, -1:]
    # Rounding may put an index of zero weight first beyond. Not `argmax`, which compiled takes another of equals.
    return torch.where(torch.logical_and(beyond, weights), order, order[-1:]).amin(-1)
