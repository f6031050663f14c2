"""A step's logits, computed when they are looked at: all at once, or some rows after the other.

Scores of visible tokens are wanted at every position, and a whole vocabulary of each is gigabytes: of a piece only the
candidates and their scores are kept (`candidates.in_pieces`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

# Bytes of logits that a CPU's head computes in one go: its weights are read anew each time.
_ROOM = 128 << 20


class Logits:
    """[N, V] float32, of which rows exist as long as they are looked at.

    Args:
        given: what the head reads, [N, ...] each.
        head: from some rows of those to their logits [n, V], the caller's to overwrite until it is asked again.
        vocab_size: V.
    """

    def __init__(self, given: tuple[Tensor, ...], head: Callable[..., Tensor], vocab_size: int) -> None:
        self._given, self._head = given, head
        self.shape, self.device = (len(given[0]), vocab_size), given[0].device
        self._are_finite: list[Tensor] = []
        self._overwritten: tuple[Tensor, Tensor] | None = None

    def element_size(self) -> int:
        """Bytes of a number."""
        return torch.float32.itemsize

    def whole(self) -> Tensor:
        """All of them, once; the caller's to overwrite."""
        given, self._given = self._given, ()
        logits = self._head(*given)
        self._are_finite = [_are_finite(logits)]
        return logits

    def __getitem__(self, rows: Tensor) -> Tensor:
        """[n, V], some rows [n] of them as the head has them; the caller's to keep and to overwrite."""
        return self._head(*(values[rows] for values in self._given)).clone()

    def overwrite(self, taken: Tensor, others: Tensor) -> None:
        """Put the rows `taken` [N] of `others` [M, V] in place of what the head has; -1 leaves a row as it is.

        So `split` gives them from now on; `are_finite` is of the head's.
        """
        self._overwritten = taken, others.float()

    def split(self, size: int) -> Iterator[Tensor]:
        """`size` rows at a time, each until the next ones are asked for."""
        room = _ROOM // (self.shape[1] * self.element_size()) if self.device.type == "cpu" else 0
        at_once = max(1, room // size) * size
        self._are_finite, start = [], 0
        for some in zip(*(values.split(at_once) for values in self._given), strict=True):
            logits = self._head(*some)
            self._are_finite.append(_are_finite(logits))
            for piece in logits.split(size):
                if self._overwritten is not None:
                    taken, others = self._overwritten
                    taken = taken[start : start + len(piece)]
                    piece = others[taken.clamp(min=0)].where(taken[:, None] >= 0, piece)
                yield piece
                start += len(piece)

    @property
    def are_finite(self) -> Tensor:
        """[N] bool, once they were looked at: positions whose largest logit is a number to compare with."""
        return torch.cat(self._are_finite)


def _are_finite(logits: Tensor) -> Tensor:
    return logits.amax(dim=-1).isfinite()


def guided(head: Callable[[Tensor], Tensor], cfg_scale: float, conditional: Tensor, unconditional: Tensor) -> Tensor:
    """Classifier-free guidance: the logits [N, V] u + (cfg_scale + 1)(c - u) of what `head` reads of both halves."""
    conditional, unconditional = head(torch.cat([conditional, unconditional])).chunk(2)
    return unconditional + (cfg_scale + 1) * (conditional - unconditional)
