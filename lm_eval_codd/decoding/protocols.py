"""What decoding asks of a backbone and of a circuit, and a coupling of a decoder, and nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.step import Decision, Step


@runtime_checkable
class Backbone(Protocol):
    """A masked diffusion language model."""

    @property
    def family(self) -> str:
        """Which rules of confidence it is decoded by."""
        ...

    @property
    def mask_id(self) -> int:
        """Of the mask token."""
        ...

    @property
    def eos_id(self) -> int:
        """Of the token that ends a text."""
        ...

    @property
    def eot_id(self) -> int | None:
        """Of the token that ends a turn, where there is one."""
        ...

    @property
    def vocab_size(self) -> int:
        """V, logit columns."""
        ...

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
class SplitBackbone(Backbone, Protocol):
    """A backbone whose trunk and head can be asked one after the other, and which can keep keys and values.

    splits: of its class: that `logits` is `head` of `hidden_at`, and nothing else.
    """

    splits: ClassVar[bool]

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def hidden_at(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        *,
        cache: KeyValues | None = None,
        slots: Tensor | None = None,
        start: Tensor | None = None,
        width: int | None = None,
    ) -> Tensor:
        """What the head reads to score the token AT each asked position, [B, P, D].

        Args:
            tokens: [B, L] int64.
            attention_mask: [B, L] bool, False at padding; None when nothing is padded.
            positions: [B, P] int64 columns of `tokens`; None asks for all.
            cache: keys and values to write into, and to read from where a column is not computed.
            slots: [B] int64, the rows' slots in the cache; None: 0, 1, ... in order.
            start: [B] int64: only the `width` columns from there on are computed (clamped to the last one); the asked
                positions lie among them. None: all.
            width: see `start`.
        """
        ...

    def head(self, hidden: Tensor, out: Tensor | None = None) -> Tensor:
        """Logits [N, V] of [N, D], which the caller may write into; they may lie in `out` [at least N, V]."""
        ...

    def new_cache(self, num_slots: int, length: int) -> KeyValues:
        """Room for the keys and values of `num_slots` rows of `length` columns."""
        ...


class KeyValues(Protocol):
    """Keys and values of every layer."""

    def crop(self, num_columns: int) -> None:
        """Drop so many columns on the left of every row."""
        ...


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
