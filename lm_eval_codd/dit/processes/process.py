"""What the diffusions of the family have in common.

Everything here is of single positions: N of them, taken from any rows, with V columns each. alpha is what is left of
the signal at the time of a position, a float64 tensor [N] or of no dimension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


class Level(NamedTuple):
    """How noisy positions are: time, alpha, and d alpha / dt, float64 [N] each."""

    t: Tensor
    alpha: Tensor
    slope: Tensor

    def at(self, places: Tensor) -> Level:
        """Of some of them."""
        return Level(*(each[places] for each in self))


class Process(Protocol):
    """Forward noise, what the network's output means, the way back, and the bound."""

    @property
    def algo(self) -> str:
        """Its name."""
        ...

    @property
    def mask_id(self) -> int | None:
        """None where there is no mask."""
        ...

    @property
    def vocab_size(self) -> int:
        """V."""
        ...

    @property
    def predictors(self) -> tuple[str, ...]:
        """Ways to sample from it, the usual one first."""
        ...

    def log_x(self, logits: Tensor, z: Tensor, alpha: Tensor | None) -> Tensor:
        """[N, V] log x_theta (of SEDD, log scores) from logits [N, V], which may be overwritten, and noisy ids [N].

        Of positions that may change; `settled` has the others.
        """
        ...

    def settled(self, log_x: Tensor, z: Tensor) -> Tensor:
        """[N, V]: `log_x` with those of positions that may not change."""
        ...

    def log_clean(self, log_x: Tensor) -> Tensor:
        """[N, V]: the distribution of the clean token, from `log_x` of positions that may change."""
        ...

    def may_change(self, z: Tensor) -> Tensor:
        """Of noisy ids of any shape, which may become another one on the way back; bool."""
        ...

    def is_uncertain(self, z: Tensor) -> Tensor:
        """Where x_theta is more than the id itself, which greedy removal of noise replaces; bool, of any shape."""
        ...

    def prior(self, uniforms: Tensor) -> Tensor:
        """Ids at time 1, from numbers in (0, 1) of the same shape."""
        ...

    def noised(self, x0: Tensor, alpha: Tensor, uniforms: Tensor) -> Tensor:
        """Noisy ids, from clean ones, alpha and numbers in (0, 1), all of one shape."""
        ...

    def posterior(self, clean: Tensor, z: Tensor, alpha_s: Tensor, alpha_t: Tensor) -> Tensor:
        """[N, V]: weights of the ids at the next time, from those of the clean token, for positions that may change."""
        ...

    def bound(self, log_x: Tensor, x0: Tensor, z: Tensor, level: Level) -> Tensor:
        """[N]: nats of -log p(x0) at one time, of positions that may change; 0 elsewhere."""
        ...


def entry(values: Tensor, ids: Tensor) -> Tensor:
    """[N]: the column of each row [N, V] that an id [N] names, in float64."""
    return values.gather(-1, ids[:, None])[:, 0].double()


def by_pieces(positions: Tensor, size: int, compute: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """A tensor like `like` that is 0 but at some of its positions.

    Args:
        positions: [M] int64, of the flattened tensor.
        size: positions at a time.
        compute: from at most `size` positions to their values.
        like: for shape, dtype and device.
    """
    full = torch.zeros_like(like).flatten()
    if len(positions):
        full = full.index_put((positions,), torch.cat([compute(piece) for piece in positions.split(size)]))
    return full.view_as(like)
