"""Psi samplers (the second part of the DUO paper): the posterior, mixed with a fresh noising of the predicted end.

Ids that were settled may change again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lm_eval_codd.dit.samplers.predictor import one_hot

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.dit.processes import Process
    from lm_eval_codd.dit.samplers.predictor import Step


class Psi:
    """See `Predictor`. q = kappa q(s | z) + (1 - kappa) [alpha_s q(0 | z) + (1 - alpha_s) prior]."""

    is_cached = False

    def __init__(self, process: Process) -> None:
        self._process = process

    def wanted(self, tokens: Tensor, step: Step, uniforms: Tensor | None) -> Tensor:
        """See `Predictor`. Everything may change, but when noise is removed."""
        return self._process.may_change(tokens) if step.is_removal else torch.ones_like(tokens, dtype=torch.bool)

    def weights(self, log_x: Tensor, z: Tensor, step: Step) -> Tensor:
        """See `Predictor`."""
        clean = self._process.log_clean(log_x).exp()
        back = self._carried(self._process.posterior(clean, z, step.alpha_s, step.alpha_t), z)
        if step.is_removal:
            return back
        end = self._carried(self._process.posterior(clean, z, torch.ones_like(step.alpha_s), step.alpha_t), z)
        again = end * step.alpha_s.to(end.dtype)
        noise = (1 - step.alpha_s).to(end.dtype)
        if self._process.mask_id is None:
            again += noise / self._process.vocab_size
        else:
            again[:, self._process.mask_id] = noise
        return step.kappa * back + (1 - step.kappa) * again

    def _carried(self, weights: Tensor, z: Tensor) -> Tensor:
        """The weights, with what is settled staying as it is."""
        itself = one_hot(z, weights.shape[-1], weights.dtype)
        return weights.where(self._process.may_change(z)[:, None], itself)
