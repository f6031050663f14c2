"""DUO (arXiv 2506.10892): noise that replaces a token by a uniformly drawn one, so that every position may be wrong."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_eval_codd.dit.processes.process import Level, entry


class DUO:
    """K = V: a mask or padding token of the tokenizer is a token like any other."""

    algo = "duo"
    predictors = ("ancestral", "psi")
    mask_id = None

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def log_x(self, logits: Tensor, z: Tensor, alpha: Tensor | None) -> Tensor:
        """See `Process`."""
        return logits.log_softmax(dim=-1)

    def log_clean(self, log_x: Tensor) -> Tensor:
        """See `Process`."""
        return log_x

    def may_change(self, z: Tensor) -> Tensor:
        """See `Process`."""
        return torch.ones_like(z, dtype=torch.bool)

    def settled(self, log_x: Tensor, z: Tensor) -> Tensor:
        """See `Process`."""
        return log_x

    def is_uncertain(self, z: Tensor) -> Tensor:
        """See `Process`."""
        return self.may_change(z)

    def prior(self, uniforms: Tensor) -> Tensor:
        """See `Process`."""
        return (uniforms * self.vocab_size).long()

    def noised(self, x0: Tensor, alpha: Tensor, uniforms: Tensor) -> Tensor:
        """See `Process`. Given that it is below 1 - alpha, a uniform number is uniform there, and chooses the id."""
        drawn = self.prior((uniforms / (1 - alpha)).clamp(max=1 - 2**-53))
        return drawn.where(uniforms < 1 - alpha, x0)

    def posterior(self, clean: Tensor, z: Tensor, alpha_s: Tensor, alpha_t: Tensor) -> Tensor:
        """See `Process`."""
        kept = alpha_t / alpha_s
        at_z = clean.gather(-1, z[:, None])
        weights = clean * (alpha_s - alpha_t).to(clean.dtype)
        weights += ((1 - kept) * (1 - alpha_s) / self.vocab_size).to(clean.dtype)
        extra = self.vocab_size * alpha_t.to(clean.dtype) * at_z + (kept - alpha_t).to(clean.dtype)
        weights.scatter_add_(-1, z[:, None], extra)
        return weights.div_(self.vocab_size * alpha_t.to(clean.dtype) * at_z + (1 - alpha_t).to(clean.dtype))

    def bound(self, log_x: Tensor, x0: Tensor, z: Tensor, level: Level) -> Tensor:
        """See `Process`. Continuous time: the limit of KL(q(s|t, x0) || p_theta(s|t)) / dt."""
        alpha, size = level.alpha, self.vocab_size
        signal, is_clean = size * alpha, (z == x0).double()
        mixed = (signal[:, None] * log_x.double().exp()).add((1 - alpha)[:, None]).log()  # log Xb
        at_z = entry(mixed, z)
        kappa = (1 - alpha) / (signal + 1 - alpha)
        true = 1 - alpha + signal * is_clean
        terms = (
            size / true
            - size * (-at_z).exp()
            + (kappa * is_clean + 1 - is_clean) * (mixed.sum(dim=-1) - size * at_z)
            + (1 - is_clean) * signal / (1 - alpha) * (entry(mixed, x0) - at_z)
            - ((size - 1) * kappa * is_clean - (1 - is_clean) / kappa) * kappa.log()
        )
        return level.slope / signal * terms
