"""Texts as windows of one length, the same on every machine.

The training code of DUO and MDLM cuts what each worker process has of a corpus, a thousand texts at a time, and drops
the rest of every thousand: how many windows there are depends on how many processors a machine has. Here the thousands
are counted over the whole corpus, as they come out with one worker; workers share the tokenizing alone.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lm_eval_codd.corpora.detokenise import detokenise

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

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


def tokenise(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    detokeniser: str = "none",
    end: int | None = None,
    workers: int = 1,
) -> Iterator[np.ndarray]:
    """The ids of each text, in order; which worker has it changes nothing.

    Args:
        texts: of the corpus.
        tokenizer: asked for no special tokens.
        detokeniser: of `detokenise.NAMES`.
        end: put behind each text; None: nothing.
        workers: processes.
    """
    import datasets

    each = _Tokenise(tokenizer, detokeniser, end)
    rows = datasets.Dataset.from_dict({"text": list(texts)})
    tokens = rows.map(
        each,
        batched=True,
        remove_columns=["text"],
        num_proc=min(workers, len(rows)) if workers > 1 else None,
        features=datasets.Features({"ids": datasets.List(datasets.Value("int32"))}),
        keep_in_memory=True,
        # Nothing is looked up or kept, so nothing of it needs a name that is a hash of the tokenizer.
        load_from_cache_file=False,
        new_fingerprint=hashlib.sha256(repr((detokeniser, end)).encode()).hexdigest()[:16],
        desc="tokenizing",
    )
    yield from _arrays(tokens)


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


class _Tokenise:
    """What a worker does with some texts."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, detokeniser: str, end: int | None) -> None:
        self._tokenizer, self._detokeniser, self._end = tokenizer, detokeniser, end

    def __call__(self, batch: dict[str, list[str]]) -> dict[str, Any]:
        texts = [detokenise(text, self._detokeniser) for text in batch["text"]]
        ids = self._tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
        return {"ids": [[*row, self._end] for row in ids] if self._end is not None else ids}


def _groups(tokens: Iterator[Sequence[int] | np.ndarray], group: int | None) -> Iterator[np.ndarray]:
    while some := list(itertools.islice(tokens, group)):
        yield np.concatenate([np.asarray(row, _IDS) for row in some])


def _arrays(rows: datasets.Dataset) -> Iterator[np.ndarray]:
    for chunk in rows.data.column("ids").chunks:
        values = chunk.values.to_numpy()
        for first, last in itertools.pairwise(chunk.offsets.to_numpy()):
            yield values[first:last]
