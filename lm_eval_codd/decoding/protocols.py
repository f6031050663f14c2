"""What the decoding loop asks of a backbone and of a circuit, and nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lm_eval_codd.settings import Family


@runtime_checkable
class Backbone(Protocol):
    """A masked diffusion language model."""

    family: Family
    mask_id: int
    eos_id: int
    eot_id: int | None
    vocab_size: int

    def logits(self, tokens: Tensor, attention_mask: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """Logits of the token AT each asked position, in the backbone's own dtype.

        Args:
            tokens: [B, L] int64.
            attention_mask: [B, L] bool, False at padding; None when nothing is padded.
            positions: [B, P] int64 columns of `tokens`; None asks for all.

        Returns:
            [B, P, V].
        """
        ...


@runtime_checkable
class Circuit(Protocol):
    """A distribution over windows of `num_positions` tokens, queried under soft evidence.

    `log_evidence` is [B, T, V]; `observed` is [B, T] int64, the token id where known and -1 where masked. Evidence at
    observed positions is not read.
    """

    num_positions: int
    num_latents: int
    vocab_size: int

    def log_partition(self, log_evidence: Tensor, observed: Tensor | None = None) -> Tensor:
        """[B]: log of the evidence's total mass under the circuit."""
        ...

    def latent_posterior(self, log_evidence: Tensor, observed: Tensor | None = None) -> Tensor:
        """[B, T, H]: p(latent | evidence), summing to one over H."""
        ...

    def token_marginals(self, log_evidence: Tensor, observed: Tensor | None = None) -> Tensor:
        """[B, T, V]: exact marginals of the coupled distribution, one-hot where observed."""
        ...

    def sample_latents(
        self,
        log_evidence: Tensor,
        observed: Tensor | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        *,
        uniforms: Tensor | None = None,
    ) -> Tensor:
        """[B, T] int64: one joint latent path a row, drawn from its posterior.

        `generator` may be a list, one a row; `uniforms` [B, T] in (0, 1) are used instead of one when given.
        """
        ...

    def max_latents(self, log_evidence: Tensor, observed: Tensor | None = None) -> Tensor:
        """[B, T] int64: the most likely latent path (Viterbi)."""
        ...

    def couple(self, log_evidence: Tensor, latents: Tensor) -> Tensor:
        """[B, T, V]: log evidence plus the log emission of the given latents."""
        ...
