"""The analytic sampler of SEDD (arXiv 2310.16834, Tweedie tau-leaping): ids of the next time from scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.dit.processes import MDLM, SEDD
    from lm_eval_codd.dit.samplers.predictor import Step


class Analytic:
    """See `Predictor`. Only masks change."""

    is_cached = False

    def __init__(self, process: SEDD | MDLM) -> None:
        self._process = process

    def wanted(self, tokens: Tensor, step: Step, uniforms: Tensor | None) -> Tensor:
        """See `Predictor`."""
        return self._process.may_change(tokens)

    def weights(self, log_x: Tensor, z: Tensor, step: Step) -> Tensor:
        """See `Predictor`. With removal, the mask is never drawn."""
        scores = self._process.log_score(log_x, step.alpha_t).exp()
        growth = (step.alpha_s / step.alpha_t).to(scores.dtype)  # e^(sigma_t - sigma_s)
        on_mask = growth * scores[:, self._process.mask_id] + (1 - growth) * scores.sum(dim=-1)
        weights = (growth - 1) * scores
        weights[:, self._process.mask_id] = torch.zeros_like(on_mask) if step.is_removal else on_mask
        return weights
