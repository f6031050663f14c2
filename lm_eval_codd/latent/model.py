"""A loaded Coupling Model: from a Gaussian latent to the logits of all positions at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lm_eval_codd.latent.networks.sizes import GeneratorSizes, StageASizes


class CouplingModel:
    """One forward from a latent [B, T, d] to T tokens. It has no prompt, no likelihood and one length.

    Args:
        network: on its device, in its dtype.
        kind: `v3`, `latent_mdm`, `lm1b`, or `stage_a`, whose flow and linear head sample too.
        sizes: of the network.
        mask_id: of latent_mdm.
        source: where it came from, for results and messages.
        identity: equal for equal files.
        is_averaged: whether these are averaged weights (EMA).

    Attributes:
        length: tokens of a sample, T.
        latent_dim: numbers of a position's latent, d.
        vocab_size: logit columns, V.
    """

    def __init__(
        self,
        network: nn.Module,
        kind: str,
        sizes: GeneratorSizes | StageASizes,
        mask_id: int | None = None,
        source: str = "memory",
        identity: str = "memory",
        is_averaged: bool = False,
    ) -> None:
        self.network, self.kind, self.sizes, self.mask_id = network, kind, sizes, mask_id
        self.length, self.latent_dim, self.vocab_size = sizes.length, sizes.latent_dim, sizes.vocab_size
        self.source, self.identity, self.is_averaged = source, identity, is_averaged

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.network.parameters()).dtype

    @property
    def num_parameters(self) -> int:
        """Numbers that training changes."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def logits(self, z: Tensor, tokens: Tensor | None = None) -> Tensor:
        """[B, T, V], float32 or float64.

        Args:
            z: [B, T, d] latents.
            tokens: [B, T] ids, masks among them: of latent_mdm, and of it alone.

        Raises:
            ValueError: one line: shapes or ids are not this model's.
        """
        if z.dim() != 3 or z.shape[1:] != (self.length, self.latent_dim):
            raise ValueError(f"`z` has shape {list(z.shape)}; use [B, {self.length}, {self.latent_dim}]")
        z = z.to(self.device, self.dtype)
        if self.kind != "latent_mdm":
            if tokens is not None:
                raise ValueError(
                    f"`tokens` are read by latent_mdm alone; `{self.source}` is {self.kind}, leave them out"
                )
            logits = self.network(z)
        else:
            logits = self.network(z, self._checked(tokens, len(z)))
        return logits if logits.dtype == torch.float64 else logits.float()

    def _checked(self, tokens: Tensor | None, rows: int) -> Tensor:
        shape = [rows, self.length]
        if tokens is None or list(tokens.shape) != shape:
            said = "are missing" if tokens is None else f"have shape {list(tokens.shape)}"
            raise ValueError(f"`tokens` {said}; a latent_mdm reads {shape}, mask id {self.mask_id} where unknown")
        tokens = tokens.to(self.device).long()
        if tokens.numel() and not (int(tokens.min()) >= 0 and int(tokens.max()) < self.vocab_size):
            raise ValueError(
                f"`tokens` hold ids from {int(tokens.min())} to {int(tokens.max())}; the vocabulary of "
                f"`{self.source}` has {self.vocab_size}"
            )
        return tokens
