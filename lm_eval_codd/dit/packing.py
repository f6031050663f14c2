"""Ids of texts as windows of one length, the same on every machine.

The training code of DUO and MDLM cuts what each worker process has of a corpus, a thousand texts at a time, and drops
the rest of every thousand: how many windows there are depends on how many processors a machine has. Here the thousands
are counted over the whole corpus, as they come out with one worker.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

GROUP: Final = 1000
_IDS: Final = np.int32


@dataclass(frozen=True)
class Packed:
    """Windows of a corpus.

    Attributes:
        windows: [N, L] ids, each `bos`, L - 2 of the corpus, `eos`.
        tokens: of all texts.
        dropped_tokens: those of them in no window.
    """

    windows: np.ndarray
    tokens: int
    dropped_tokens: int

    @property
    def sha256(self) -> str:
        """Hex, of all ids in order."""
        return hashlib.sha256(np.ascontiguousarray(self.windows, _IDS).astype("<i4").tobytes()).hexdigest()


def pack(
    tokens: Iterable[Sequence[int] | np.ndarray], *, length: int, bos: int, eos: int, group: int | None = GROUP
) -> Packed:
    """Windows out of the tokens of texts, in order.

    Args:
        tokens: of each text.
        length: of a window, with `bos` and `eos`.
        bos: the first id of every window.
        eos: the last one.
        group: texts that are joined; what is left of them at the end is dropped. None joins all.
    """
    body, bodies, total = length - 2, [np.empty((0, length - 2), _IDS)], 0
    for joined in _groups(iter(tokens), group):
        total += len(joined)
        bodies.append(joined[: len(joined) // body * body].reshape(-1, body))
    within = np.concatenate(bodies)
    ends = np.ones((len(within), 1), _IDS)
    return Packed(np.concatenate([ends * bos, within, ends * eos], axis=1), total, total - within.size)


def _groups(tokens: Iterator[Sequence[int] | np.ndarray], group: int | None) -> Iterator[np.ndarray]:
    while some := list(itertools.islice(tokens, group)):
        yield np.concatenate([np.asarray(row, _IDS) for row in some])
