"""Profiles of a Psi sampler: its grid of times, and how much of each step is the posterior (DUO paper, second part).

A grid has three segments, high, middle and low noise, and each a mode of its own:

    pure-posterior      kappa = 1: the ancestral sampler
    pure-pc             kappa = 0: the predicted end, noised again
    constant-K          kappa = K
    max-capped-eta      kappa = 1 - min(eta, (1 - alpha_s) / alpha_t) / (1 - alpha_s), at least 0
    max-rescale-eta     the same with eta times that minimum
    constant-remdm-eta  the same with eta in its place
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.dit.schedules import LAST_TIME, sampling_times
from lm_eval_codd.settings.psi import Mode, Profile, read_profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lm_eval_codd.dit.schedules import Schedule


def psi_profile(
    schedule: Schedule,
    steps: int,
    modes: str | Sequence[str],
    shares: Sequence[float] = (0.0, 0.0),
    times: str = "linear",
) -> tuple[Tensor, Tensor]:
    """`psi=` of `sample_dit`: times and shares of the posterior, float64 [steps + 1] each.

    Args:
        schedule: of the model, `dit.schedule`.
        steps: T, of the grid.
        modes: one for all of the grid, or three, of high, middle and low noise: see above.
        shares: of the T + 1 times, what is high and what is middle; the rest is low. For three modes, and for
            `times=linear-constant-linear-c`.
        times: `linear` from 1 to 1e-5; or `linear-constant-linear-c`, down to c in the high segment, c in the middle
            one, and down to 1e-5 in the low one.

    Raises:
        ValueError: one line: a mode or grid that is not known, or shares that cannot be.
    """
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise ValueError(f"`steps={steps}` must be a whole number of at least 1")
    return of_profile(schedule, steps, read_profile(steps, modes, shares, times))


def of_profile(schedule: Schedule, steps: int, profile: Profile) -> tuple[Tensor, Tensor]:
    """`psi_profile` of a profile that is read already."""
    grid = _times(steps, profile)
    alphas = schedule.alpha(grid)
    # One segment where there is one mode, so that only the grid's own end is its last.
    parts = [alphas] if len(profile.modes) == 1 else alphas.split(list(profile.counts))
    return grid, torch.cat([_kappas(mode, part) for mode, part in zip(profile.modes, parts, strict=True)])


def _times(steps: int, profile: Profile) -> Tensor:
    if profile.plateau is None:
        return sampling_times(steps)
    plateau, (high, middle, low) = profile.plateau, profile.counts
    parts = (torch.linspace(1, plateau, high), torch.full((middle,), plateau), torch.linspace(plateau, LAST_TIME, low))
    return torch.cat(parts).double()


def _kappas(mode: Mode, alphas: Tensor) -> Tensor:
    """[n] float64, from the alphas of a segment's times [n]."""
    constant = {"pure-posterior": 1.0, "pure-pc": 0.0, "constant": mode.value}.get(mode.name)
    if constant is not None:
        return torch.full_like(alphas, constant)
    kappas = torch.ones_like(alphas)  # the last of a segment stays the posterior
    here, there = alphas[:-1], alphas[1:]
    most = (1 - there) / here
    strength = {
        "max-capped": most.clamp(max=mode.value),
        "max-rescale": mode.value * most.clamp(max=mode.value),
        "constant-remdm": torch.full_like(most, mode.value),
    }[mode.name]
    kappas[:-1] = (1 - strength / (1 - there)).clamp(0, 1)
    return kappas
