"""The ids of a corpus' texts, made by several processes at once, whose number changes nothing."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lm_eval_codd.corpora.detokenise import detokenise

if TYPE_CHECKING:
    import datasets
    import numpy as np
    from transformers import PreTrainedTokenizerBase


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
        features=datasets.Features({"ids": datasets.Sequence(datasets.Value("int32"))}),
        keep_in_memory=True,
        # Nothing is looked up or kept, so nothing of it needs a name that is a hash of the tokenizer.
        load_from_cache_file=False,
        new_fingerprint=hashlib.sha256(repr((detokeniser, end)).encode()).hexdigest()[:16],
        desc="tokenizing",
    )
    yield from _arrays(tokens)


class _Tokenise:
    """What a worker does with some texts."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, detokeniser: str, end: int | None) -> None:
        self._tokenizer, self._detokeniser, self._end = tokenizer, detokeniser, end

    def __call__(self, batch: dict[str, list[str]]) -> dict[str, Any]:
        texts = [detokenise(text, self._detokeniser) for text in batch["text"]]
        ids = self._tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
        return {"ids": [[*row, self._end] for row in ids] if self._end is not None else ids}


def _arrays(rows: datasets.Dataset) -> Iterator[np.ndarray]:
    for chunk in rows.data.column("ids").chunks:
        values = chunk.values.to_numpy()
        for first, last in itertools.pairwise(chunk.offsets.to_numpy()):
            yield values[first:last]
