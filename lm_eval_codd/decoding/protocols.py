"""What decoding asks of a backbone and of a circuit, and a coupling of a decoder, and nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from lm_eval_codd.backbones.protocols import Backbone, KeyValues, SplitBackbone

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.step import Decision, Step

__all__ = ["Backbone", "Chooser", "Circuit", "KeyValues", "MovableCircuit", "Posterior", "SplitBackbone"]


class Posterior(Protocol):
    """A circuit under evidence for N windows, M of whose N * T positions are masked."""

    @property
    def observed(self) -> Tensor:
        """[N, T] int64, the token where known and -1 where masked."""
        ...

    @property
    def places(self) -> Tensor:
        """[M] int64, where the masked positions stand in `observed.flatten()`."""
        ...

    @property
    def impossible(self) -> Tensor:
        """[N] bool, windows whose evidence leaves no mass; what they answer means nothing."""
        ...

    def sample(self, *, uniforms: Tensor) -> Tensor:
        """[N, T] int64: one joint latent path a window, from uniform numbers [N, T]."""
        ...

    def max(self) -> Tensor:
        """[N, T] int64: the most likely latent path (Viterbi)."""
        ...

    def couple_masked(self, latents: Tensor) -> Tensor:
        """[M, V]: log evidence plus the log emission of `latents` [N, T], at the masked positions."""
        ...

    def masked_token_marginals(self) -> Tensor:
        """[M, V]: exact p(x_t | evidence) at the masked positions."""
        ...

    def observe(self, tokens: Tensor) -> Posterior:
        """Commit masked positions, given as `tokens` [N, T] with -1 elsewhere."""
        ...

    def select(self, keep: Tensor) -> Posterior:
        """Some of the windows, [N] bool."""
        ...


@runtime_checkable
class Circuit(Protocol):
    """A distribution over windows of `num_positions` tokens, conditioned on soft evidence."""

    @property
    def num_positions(self) -> int:
        """T, of a window."""
        ...

    @property
    def vocab_size(self) -> int:
        """V."""
        ...

    def evaluate(self, log_evidence: Tensor, observed: Tensor, places: Tensor) -> Posterior:
        """Condition on evidence.

        Args:
            log_evidence: [M, V] of the masked positions, in row-major order; of any scale for each.
            observed: [N, T] int64, the token where known and -1 where masked.
            places: [M] int64, where the masked positions stand in `observed.flatten()`.
        """
        ...


class MovableCircuit(Circuit, Protocol):
    """A circuit whose tables lie on a device."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def to(self, *, device: torch.device) -> Circuit:
        """The same circuit elsewhere."""
        ...


class Chooser(Protocol):
    """A decoder that commits the surest positions, as a coupling sees it."""

    def choose(
        self, canvas: Canvas, step: Step, logits: Tensor, forced: Tensor | None = None, *, turn: int = 0
    ) -> Decision:
        """Propose a token everywhere and commit the surest of each row's `step.committable`.

        Args:
            canvas: as the step found it.
            step: the open positions.
            logits: [N, V] float32 at those positions, after guidance and the circuit.
            forced: [B, P] bool, positions that go before all others.
            turn: how many of each row's positions the same step has committed before.
        """
        ...
