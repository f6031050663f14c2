"""Noise that masks: a token is kept with probability alpha and is the mask otherwise; what was unmasked stays."""

from __future__ import annotations

import torch
from torch import Tensor


class Absorbing:
    """What MDLM, SEDD and D3PM have in common."""

    def __init__(self, vocab_size: int, mask_id: int) -> None:
        self.vocab_size, self.mask_id = vocab_size, mask_id

    def may_change(self, z: Tensor) -> Tensor:
        """See `Process`."""
        return z == self.mask_id

    def settled(self, log_x: Tensor, z: Tensor) -> Tensor:
        """See `Process`."""
        return log_x

    def is_uncertain(self, z: Tensor) -> Tensor:
        """See `Process`."""
        return self.may_change(z)

    def prior(self, uniforms: Tensor) -> Tensor:
        """See `Process`."""
        return torch.full_like(uniforms, self.mask_id, dtype=torch.int64)

    def noised(self, x0: Tensor, alpha: Tensor, uniforms: Tensor) -> Tensor:
        """See `Process`."""
        return x0.masked_fill(uniforms < 1 - alpha, self.mask_id)

    def posterior(self, clean: Tensor, z: Tensor, alpha_s: Tensor, alpha_t: Tensor) -> Tensor:
        """See `Process`. Of masked positions.

        Mass that D3PM leaves on the mask is dropped, as in the reference: with alpha_s = 1 no mask survives.
        """
        weights = clean * ((alpha_s - alpha_t) / (1 - alpha_t)).to(clean.dtype)
        weights[:, self.mask_id] = ((1 - alpha_s) / (1 - alpha_t)).to(clean.dtype)
        return weights
