"""DUO's curriculum (arXiv 2506.10892, section 4): the bound, with Gaussian noise under the ids as the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.dit.processes import Level
from lm_eval_codd.dit.schedules import sigma
from lm_eval_codd.dit.transform import Probability, alpha_of, diffusion_transform, gaussian

if TYPE_CHECKING:
    from lm_eval_codd.dit.model import DiT

# Of the official finite difference, for a given p.
_DIFFERENCE: Final = 1e-3
# Of signal and of noise: with none of one the bound is 0 times infinity.
_LEAST: Final = 1e-12


def curriculum_loss(
    dit: DiT,
    x0: Tensor,
    t: Tensor,
    eps: Tensor,
    gamma_min: float,
    gamma_max: float,
    tau: float,
    p: Probability | None = None,
) -> Tensor:
    """[B, L] nats per token: DUO's bound of softmax(w / tau), the soft form of the noisy ids argmax w.

    Args:
        dit: of algo duo.
        x0: [B, L] clean ids.
        t: [B] times; gamma goes from `gamma_min` at 0 to `gamma_max` at 1.
        eps: [B, L, V] Gaussian noise.
        gamma_min: of the range. For a small vocabulary published ranges cover half of the noise levels: alpha has to
            go from about 1 to about 0.
        gamma_max: likewise.
        tau: temperature of the soft input.
        p: gamma to the probability that an id survives, as a table has it, whose derivative is then a difference; None:
            the integral, with its own.

    Raises:
        ValueError: the model is not of algo duo.
    """
    require_duo(dit)
    t = t.to(dit.device)
    gamma = gamma_min + t * (gamma_max - gamma_min)  # in the dtype of the times, as a table is looked up
    alpha, slope = _alpha_and_slope(gamma, dit.vocab_size, p)
    x0 = x0.to(dit.device)
    w = gaussian(x0, eps.to(dit.device), gamma)
    level = Level(t.double(), alpha, (gamma_max - gamma_min) * slope)
    levels = Level(*(each.repeat_interleave(x0.shape[1]) for each in level))
    hidden, clean, noisy = dit.hidden(w / tau, sigma(alpha)).flatten(0, 1), x0.flatten(), w.argmax(-1).flatten()

    def bound(places: Tensor) -> Tensor:
        log_x = dit.diffusion.log_x(dit.head(hidden[places]), noisy[places], None)
        return dit.diffusion.bound(log_x, clean[places], noisy[places], levels.at(places))

    return dit.of_places(torch.arange(x0.numel(), device=dit.device), bound, x0)


def require_duo(dit: DiT) -> None:
    """Raise `ValueError` for another algorithm."""
    if dit.algo != "duo":
        raise ValueError(f"`{dit.source}` is of algo={dit.algo}; Gaussian noise under the ids is DUO's alone")


def _alpha_and_slope(gamma: Tensor, vocab_size: int, p: Probability | None) -> tuple[Tensor, Tensor]:
    if p is None:
        here, slope = diffusion_transform(gamma, vocab_size)
        return alpha_of(here, vocab_size).clamp(_LEAST, 1 - _LEAST), vocab_size / (vocab_size - 1) * slope
    alpha, there = (alpha_of(p(each).double(), vocab_size) for each in (gamma, gamma + _DIFFERENCE))
    return alpha, (there - alpha) / _DIFFERENCE
