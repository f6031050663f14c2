"""D3PM with an absorbing state (arXiv 2107.03006): masks, and a bound over discrete steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from lm_eval_codd.dit.processes.absorbing import Absorbing
from lm_eval_codd.dit.processes.process import Level, entry

if TYPE_CHECKING:
    from torch import Tensor

NUM_STEPS: Final = 1000
_LAST: Final = 1 - 1e-4


def on_grid(t: Tensor) -> Tensor:
    """Times in (0, 1) on the grid 2/1000 .. 1 of the steps."""
    return ((t * NUM_STEPS).floor() + 1) / NUM_STEPS


class D3PM(Absorbing):
    """The network may leave mass on the mask."""

    algo = "d3pm"
    predictors = ("ancestral",)

    def log_x(self, logits: Tensor, z: Tensor, alpha: Tensor | None) -> Tensor:
        """See `Process`."""
        return logits.log_softmax(dim=-1)

    def log_clean(self, log_x: Tensor) -> Tensor:
        """See `Process`."""
        return log_x

    def is_uncertain(self, z: Tensor) -> Tensor:
        """See `Process`. The network says something of visible tokens too, and official greedy removal takes it."""
        return torch.ones_like(z, dtype=torch.bool)

    def bound(self, log_x: Tensor, x0: Tensor, z: Tensor, level: Level) -> Tensor:
        """See `Process`. The diffusion part, of masked positions; `reconstruction` is the other.

        The official code of DUO has alpha_s = t - 1/T in it where 1 - (t - 1/T) belongs, and falls below zero.
        """
        t = level.t.clamp(max=_LAST)
        before = t - 1 / NUM_STEPS
        on_mask = entry(log_x, z).exp()
        here = ((1 - t) * on_mask / t).log1p()
        there = ((1 - before) * on_mask / before).log1p()
        share = 1 / (NUM_STEPS * t)
        return NUM_STEPS * (share * (here - entry(log_x, x0)) + (1 - share) * (here - there))

    @staticmethod
    def reconstruction(log_x: Tensor, x0: Tensor) -> Tensor:
        """[N]: nats of the last step, from `log_x` of the clean row at noise level 0; of every position."""
        return -entry(log_x, x0)
