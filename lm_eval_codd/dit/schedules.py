"""How much of the signal is left at a time from 0 (clean) to 1: alpha(t), and its derivative."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from lm_eval_codd.settings.psi import LAST_TIME

# The least time at which anything is sampled or scored.
LEAST_TIME: Final = 1e-3


@dataclass(frozen=True)
class Schedule:
    """alpha(t) of one kind.

    eps: what is left at time 1.
    """

    name: str
    eps: float = 1e-3

    def alpha(self, t: Tensor) -> Tensor:
        """float64, of the shape of `t`."""
        return SCHEDULES[self.name][0](t.double(), self.eps)

    def slope(self, t: Tensor) -> Tensor:
        """D alpha / dt, float64, of the shape of `t`."""
        return SCHEDULES[self.name][1](t.double(), self.eps)


def sigma(alpha: Tensor) -> Tensor:
    """The conditioning value, -log alpha."""
    return -alpha.log()


def sampling_times(steps: int) -> Tensor:
    """[steps + 1] float64: from 1 down to `LAST_TIME`, rounded to float32 as the reference has them."""
    return torch.linspace(1, LAST_TIME, steps + 1).double()


def _loglinear(t: Tensor, eps: float) -> Tensor:
    return 1 - (1 - eps) * t


def _loglinear_slope(t: Tensor, eps: float) -> Tensor:
    return torch.full_like(t, eps - 1)


def _cosine(t: Tensor, eps: float) -> Tensor:
    return 1 - torch.cos(math.pi / 2 * (1 - (1 - eps) * t))


def _cosine_slope(t: Tensor, eps: float) -> Tensor:
    return -(1 - eps) * math.pi / 2 * torch.sin(math.pi / 2 * (1 - (1 - eps) * t))


_Curve = Callable[[Tensor, float], Tensor]
SCHEDULES: Final[dict[str, tuple[_Curve, _Curve]]] = {
    "log-linear": (_loglinear, _loglinear_slope),
    "cosine": (_cosine, _cosine_slope),
}
