"""What an estimator asks of a model, and what it is told.

An estimator is a generator: it yields masks of its target and is sent what the model says through them. So many targets
are under way at once, and what they ask for shares the passes of the network.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor


# Nats by which a log probability may move with the batch that it is computed in.
ROUNDING: Final = 1e-5


class Ask(NamedTuple):
    """Some ways to mask a target of n tokens.

    masked: [K, n] bool, what the model does not see in each; on the CPU, as all of this.
    scored: [K, n] bool, the masked tokens that are scored, together.
    tops: whether also each one by itself, and the most likely token in its place.
    """

    masked: Tensor
    scored: Tensor
    tops: bool = False


class Told(NamedTuple):
    """What the model says of them.

    together: [K] float64, log p of the scored tokens given what is seen; 0 where nothing is scored.
    alone: [K, n] float64, log p of each scored token by itself; None unless `tops` asked for it.
    tokens: [K, n] int64, the most likely token in the place of each; None likewise.
    tops: [K, n] float64, its log p, -inf where nothing is scored; None likewise.
    """

    together: Tensor
    alone: Tensor | None = None
    tokens: Tensor | None = None
    tops: Tensor | None = None


@dataclass(frozen=True)
class Target:
    """What is estimated.

    tokens: [n] int64.
    prompt_length: tokens before it.
    key: [1] int64 of its noise, which all targets of one prompt share.
    """

    tokens: Tensor
    prompt_length: int
    key: Tensor

    def __len__(self) -> int:
        return len(self.tokens)


def surest(tops: Tensor) -> int:
    """The place of the largest of `tops` [n], the leftmost of those that differ from it by no more than rounding."""
    return int((tops >= tops.max() - ROUNDING).int().argmax())


class Estimate(NamedTuple):
    """A value in nats and its standard error, as in `Likelihood`."""

    value: float
    stderr: float | None


Estimator: TypeAlias = Generator[Ask, Told, Estimate]
