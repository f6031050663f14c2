"""A pass over whole canvases in two parts: up to the head, and from there to the logits of some rows at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeGuard

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.backbones.protocols import Backbone, SplitBackbone


class FullPass:
    """Logits of a whole canvas, in float32 and the caller's to overwrite until it is asked again."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self.vocab_size = backbone.vocab_size
        self._split = (backbone, Head(backbone)) if splits(backbone) else None

    def before_head(self, tokens: Tensor, attention_mask: Tensor | None, positions: Tensor) -> Tensor:
        """[B, P, ...]: what `head` reads at the `positions` [B, P]."""
        compute = self._backbone.logits if self._split is None else self._split[0].hidden_at
        return compute(tokens, attention_mask, positions)

    def head(self, given: Tensor) -> Tensor:
        """[N, V] of what `before_head` gave, [N, ...]."""
        if self._split is not None:
            return self._split[1](given)
        return given.to(torch.float32, copy=True)  # the backbone may keep its own

    def __call__(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None,
        positions: Tensor,
        pick: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """[N, V], what `pick` takes of the values [B, P, ...] at the `positions` [B, P]."""
        return self.head(pick(self.before_head(tokens, attention_mask, positions)))


class Head:
    """The backbone's head, in float32; on a CPU its logits always lie in the same memory."""

    def __init__(self, backbone: SplitBackbone) -> None:
        self._backbone = backbone
        self._room: Tensor | None = None

    def __call__(self, hidden: Tensor) -> Tensor:
        """[N, V] of hidden states [N, D]."""
        if hidden.device.type == "cpu" and (self._room is None or len(self._room) < len(hidden)):
            self._room = hidden.new_empty(len(hidden), self._backbone.vocab_size)
        return self._backbone.head(hidden, out=self._room).float()


def splits(backbone: Backbone) -> TypeGuard[SplitBackbone]:
    """Whether trunk and head can be asked one after the other.

    Its class says so: a wrapper that hands on what it does not have itself is asked for its `logits`, which it may have
    changed; so is a backbone whose own `logits` were written over.
    """
    return getattr(type(backbone), "splits", False) and "logits" not in vars(backbone)
