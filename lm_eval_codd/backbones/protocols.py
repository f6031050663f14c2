"""What those who use a backbone ask of it, and nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor


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
        places: Tensor | None = None,
    ) -> Tensor:
        """What the head reads to score the token AT each asked position, [B, P, D].

        Args:
            tokens: [B, L] int64.
            attention_mask: [B, L] bool, False at padding; None when nothing is padded. [B, 1, L, L]: which columns
                (last) each one (third) sees.
            positions: [B, P] int64 columns of `tokens`; None asks for all.
            cache: keys and values to write into, and to read from where a column is not computed.
            slots: [B] int64, the rows' slots in the cache; None: 0, 1, ... in order.
            start: [B] int64: only the `width` columns from there on are computed (clamped to the last one); the asked
                positions lie among them. None: all.
            width: see `start`.
            places: [B, L] int64: where in the text each column stands; None: behind so many tokens that are real.
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


def check_backbone(value: Any) -> None:
    """Raise `TypeError`, in one line, for what answers no prompts: other models of this package, and other objects."""
    if not (hasattr(value, "family") or hasattr(value, "eos_id")):
        raise TypeError(
            f"`backbone` is a {type(value).__name__}, which answers no prompts and has no likelihood given one; give "
            "what load_backbone loads (a Coupling Model is sampled by sample_coupling, a DiT by sample_dit)"
        )
