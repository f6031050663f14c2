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

import math
import re
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.dit.schedules import LAST_TIME, sampling_times
from lm_eval_codd.settings import unknown_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lm_eval_codd.dit.schedules import Schedule

_MODE: Final = re.compile(r"(pure-posterior|pure-pc)|(constant|max-capped|max-rescale|constant-remdm)-([0-9.e-]+)")
_MODES: Final = (
    *("pure-posterior", "pure-pc", "constant-K", "max-capped-eta", "max-rescale-eta", "constant-remdm-eta"),
)
_PLATEAU: Final = "linear-constant-linear-"


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
    three = (modes,) * 3 if isinstance(modes, str) else tuple(modes)
    if len(three) != 3:
        raise ValueError(f"`modes={modes}` must be one mode, or three, of high, middle and low noise")
    counts = _counts(steps + 1, shares)
    grid = _times(times, steps, counts)
    alphas = schedule.alpha(grid)
    # One segment where there is one mode, so that only the grid's own end is its last.
    parts = [alphas] if isinstance(modes, str) else alphas.split(counts)
    return grid, torch.cat([_kappas(mode, part) for mode, part in zip(three, parts, strict=False)])


def _counts(number: int, shares: Sequence[float]) -> list[int]:
    if len(shares) != 2 or not all(0 <= share <= 1 for share in shares) or sum(shares) > 1:
        raise ValueError(
            f"`shares={tuple(shares)}` must be two shares of the times, high and middle, at most 1 together"
        )
    high, middle = (round(share * number) for share in shares)
    if high + middle > number:
        raise ValueError(
            f"`shares={tuple(shares)}` are {high} and {middle} of {number} times, which are more; lower one"
        )
    return [high, middle, number - high - middle]


def _times(name: str, steps: int, counts: list[int]) -> Tensor:
    if name == "linear":
        return sampling_times(steps)
    plateau = _number(name.removeprefix(_PLATEAU)) if name.startswith(_PLATEAU) else None
    if plateau is None or not LAST_TIME <= plateau <= 1:
        raise ValueError(unknown_value("times", name, ["linear", f"{_PLATEAU}c with c from 1e-5 to 1"]))
    high, middle, low = counts
    if not high:
        raise ValueError(f"`times={name}` begins at 1 in the high segment, which is empty; give it a share in `shares`")
    parts = (torch.linspace(1, plateau, high), torch.full((middle,), plateau), torch.linspace(plateau, LAST_TIME, low))
    return torch.cat(parts).double()


def _kappas(mode: str, alphas: Tensor) -> Tensor:
    """[n] float64, from the alphas of a segment's times [n]."""
    found = _MODE.fullmatch(mode)
    value = _number(found[3]) if found and found[3] is not None else 0.0
    if found is None or value is None:
        raise ValueError(unknown_value("modes", mode, _MODES))
    if found[1] is not None or found[2] == "constant":
        kappa = {"pure-posterior": 1.0, "pure-pc": 0.0}.get(mode, value)
        if not 0 <= kappa <= 1:
            raise ValueError(f"`modes={mode}` must have a share of the posterior from 0 to 1")
        return torch.full_like(alphas, kappa)
    kappas = torch.ones_like(alphas)  # the last of a segment stays the posterior
    here, there = alphas[:-1], alphas[1:]
    most = (1 - there) / here
    strength = {
        "max-capped": most.clamp(max=value),
        "max-rescale": value * most.clamp(max=value),
        "constant-remdm": torch.full_like(most, value),
    }[found[2]]
    kappas[:-1] = (1 - strength / (1 - there)).clamp(0, 1)
    return kappas


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
