"""The ancestral sampler: ids of the next time from the posterior, given the clean token that the network predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lm_eval_codd.dit.samplers.nucleus import truncated
from lm_eval_codd.dit.samplers.predictor import masks_that_may_leave

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.dit.processes import Process
    from lm_eval_codd.dit.samplers.predictor import Step


class Ancestral:
    """See `Predictor`. x_theta of MDLM depends on the ids alone, so that one that did not change serves again."""

    is_cached = True

    def __init__(self, process: Process, p_nucleus: float) -> None:
        self._process, self._p_nucleus = process, p_nucleus

    def wanted(self, tokens: Tensor, step: Step, uniforms: Tensor | None) -> Tensor:
        """See `Predictor`."""
        return masks_that_may_leave(self._process, tokens, step, uniforms)

    def weights(self, log_x: Tensor, z: Tensor, step: Step) -> Tensor:
        """See `Predictor`."""
        clean = truncated(self._process.log_clean(log_x).exp(), self._p_nucleus)
        return self._process.posterior(clean, z, step.alpha_s, step.alpha_t)
