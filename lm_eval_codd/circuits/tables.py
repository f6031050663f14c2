"""What emissions, posteriors and counts ask of the circuit that they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Tables(Protocol):
    """The tables of an `HMM`, which says what each of these is."""

    initial: Tensor
    transition: Tensor
    emission: Tensor
    num_positions: int
    num_latents: int

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that answers come in."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the tables are."""
        ...

    @property
    def always_possible(self) -> bool:
        """`stays_in_range` of the circuit's own dtype."""
        ...

    @property
    def log_chain_tables(self) -> tuple[Tensor, Tensor]:
        """Log initial [H] and log transitions [T - 1, H, H]."""
        ...

    def each_step(self, table: Tensor) -> Tensor:
        """A transition table as [T - 1, H, H]."""
        ...

    def chain_tables(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Log initial [H] and transitions [T - 1, H, H] in a dtype."""
        ...

    def chain_mass(self, log_leaf: Tensor) -> tuple[Tensor, Tensor]:
        """Log beta [B, T, H] up to a scale, and the log mass in parts [B, T], of leaves [B, T, H]."""
        ...

    def draw(self, log_message: Tensor, uniforms: Tensor) -> Tensor:
        """[B, T] int64: a latent path a row, of messages [B, T, H] and numbers [B, T] in [0, 1)."""
        ...

    def stays_in_range(self, dtype: torch.dtype) -> bool:
        """Whether a dtype cannot lose a latent that matters, whatever the evidence."""
        ...
