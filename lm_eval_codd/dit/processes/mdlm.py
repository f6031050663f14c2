"""MDLM (arXiv 2406.07524): masks, and a network that says what is behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lm_eval_codd.dit.processes.absorbing import Absorbing
from lm_eval_codd.dit.processes.process import Level, entry

if TYPE_CHECKING:
    from torch import Tensor

# What the reference puts in the place of log 0.
_NEVER: Final = -1e6


class MDLM(Absorbing):
    """A masked token is never the mask, and a visible one is itself (SUBS)."""

    algo = "mdlm"
    predictors = ("ancestral", "analytic", "psi")

    def log_x(self, logits: Tensor, z: Tensor, alpha: Tensor | None) -> Tensor:
        """See `Process`."""
        logits[:, self.mask_id] += _NEVER
        return logits.log_softmax(dim=-1)

    def settled(self, log_x: Tensor, z: Tensor) -> Tensor:
        """See `Process`."""
        itself = log_x.new_full((1, 1), _NEVER).expand_as(log_x).scatter(-1, z[:, None], 0.0)
        return itself.where((z != self.mask_id)[:, None], log_x)

    def log_clean(self, log_x: Tensor) -> Tensor:
        """See `Process`."""
        return log_x

    def log_score(self, log_x: Tensor, alpha: Tensor) -> Tensor:
        """[N, V] log p_t(v) / p_t(mask) of masked positions."""
        scores = log_x + (alpha / (1 - alpha)).log()[..., None].to(log_x.dtype)
        scores[:, self.mask_id] = 0.0
        return scores

    def bound(self, log_x: Tensor, x0: Tensor, z: Tensor, level: Level) -> Tensor:
        """See `Process`. Continuous time; of masked positions."""
        return level.slope / (1 - level.alpha) * entry(log_x, x0)
