"""SEDD with an absorbing state (arXiv 2310.16834): masks, and a network that says ratios of probabilities."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lm_eval_codd.dit.processes.absorbing import Absorbing
from lm_eval_codd.dit.processes.process import Level, entry


class SEDD(Absorbing):
    """`log_x` is the log score, log p_t(v) / p_t(z).

    Its ancestral sampler, through the clean token that the scores imply, is this project's and has no reference.
    """

    algo = "sedd"
    predictors = ("analytic", "ancestral")

    def log_x(self, logits: Tensor, z: Tensor, alpha: Tensor | None) -> Tensor:
        """See `Process`."""
        assert alpha is not None  # a SEDD is told the noise level
        odds = (1 - alpha).log() - alpha.log()  # log(e^sigma - 1)
        scores = logits - (odds + math.log(self.vocab_size - 1))[..., None].to(logits.dtype)
        return scores.scatter(-1, z[:, None], 0.0)

    def log_clean(self, log_x: Tensor) -> Tensor:
        """See `Process`."""
        scores = log_x.clone()
        scores[:, self.mask_id] = -torch.inf
        return scores.log_softmax(dim=-1)

    def log_score(self, log_x: Tensor, alpha: Tensor) -> Tensor:
        """[N, V], `log_x` itself."""
        return log_x

    def bound(self, log_x: Tensor, x0: Tensor, z: Tensor, level: Level) -> Tensor:
        """See `Process`. Continuous time (score entropy); of masked positions."""
        ratio = level.alpha / (1 - level.alpha)
        total = log_x.double().exp().sum(dim=-1) - entry(log_x, z).exp()
        entropy = total - ratio * entry(log_x, x0) + ratio * (ratio.log() - 1)
        return -level.slope / level.alpha * entropy
