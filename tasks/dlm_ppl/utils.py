"""Perplexity per token of a corpus in windows: which windows, and what is measured of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import pyarrow

from lm_eval_codd.benchmarks import HAS_OUTPUT_TYPES, RollingTask, RowsTask
from lm_eval_codd.carried import Nats, TokenText
from lm_eval_codd.catalogue import DIT_MODELS
from lm_eval_codd.corpora.arguments import Arguments
from lm_eval_codd.corpora.detokenise import VERSION
from lm_eval_codd.corpora.perplexity import perplexity, perplexity_stderr
from lm_eval_codd.corpora.token_tasks import TokensTask
from lm_eval_codd.corpora.tokenise import tokenise
from lm_eval_codd.dit.packing import pack
from lm_eval_codd.rows import DataError, Read, Rows, read_lines, read_texts

__all__ = ["PackedTask", "perplexity", "perplexity_stderr", "process_results"]


class PackedTask(TokensTask, RowsTask, RollingTask):
    """A corpus as windows of token ids, which reach the model as they are. See tasks/README.md for its arguments."""

    models = (*DIT_MODELS.values(), "dlm")

    def read_rows(self, wanted: Rows) -> Read:
        """From the file that `data` names; else as any benchmark's."""
        path = self._arguments.path
        if path is None:
            return super().read_rows(wanted)
        if path.suffix != ".txt":
            return Read(str(path), read_lines(self.config.task, path))
        (column,) = wanted.columns
        return Read(str(path), [{column: line} for line in read_texts(self.config.task, path)])

    def documents(self, rows: list[dict[str, Any]]) -> datasets.Dataset:
        """The windows of all texts; the result's metadata says how they were made and what is not in them."""
        asked, metadata = self._arguments, self.config.metadata
        (column,) = rows[0]
        self._tokenizer = tokenizer = asked.tokenizer()
        bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        length, group, insert_eos = asked.length, asked.group, asked.flag("insert_eos", metadata["ends_texts"])
        texts = [row[column] for row in rows]
        end = eos if insert_eos else None
        tokens = tokenise(texts, tokenizer, metadata["detokeniser"], end, asked.number("workers", 1))
        packed = pack(tokens, length=length, bos=bos, eos=eos, group=group)
        if not len(packed.windows):
            raise DataError(
                f"{self.config.task}: {packed.tokens} tokens in {len(rows)} texts fill no window of {length} "
                f"(group={group or 'all'}); give more text, group=all or a smaller length"
            )
        self.config.metadata = metadata | {
            "packing": {
                "length": length,
                "group": group or "all",
                "insert_eos": insert_eos,
                "bos": bos,
                "eos": eos,
                "detokeniser": f"{metadata['detokeniser']}, version {VERSION}",
                "tokenizer": str(tokenizer.name_or_path),
                "windows": len(packed.windows),
                "tokens": packed.tokens,
                "dropped_tokens": packed.dropped_tokens,
                "sha256": packed.sha256,
            }
        }
        ids = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(packed.windows.reshape(-1)), length)
        return datasets.Dataset(pyarrow.table({"ids": ids}))

    def doc_to_text(self, doc: dict[str, Any], doc_to_text: Any = None) -> str:
        """Nothing: the whole window is scored."""
        return ""

    def doc_to_target(self, doc: dict[str, Any], doc_to_target: Any = None) -> str:
        """A window as text that has its ids."""
        return TokenText(self._tokenizer.decode(doc["ids"]), doc["ids"])

    @property
    def _arguments(self) -> Arguments:
        return Arguments(self.config.task, self.config.metadata)


def process_results(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
    """Nats and tokens of a window, for every metric.

    Raises:
        ValueError: the model answered for the text, not for its ids.
    """
    (nats,) = results
    if not isinstance(nats, Nats):
        raise ValueError(
            f"dlm_ppl: the model scored a text and not the {len(doc['ids'])} token ids that it stands for; evaluate "
            f"one of {', '.join(PackedTask.models)}"
        )
    measured = {
        "token_perplexity": (float(nats), nats.num_tokens),
        "bits_per_token": -float(nats) / nats.num_tokens / math.log(2),
    }
    # lm-eval 0.4 has a standard error for its own metrics alone; 0.5 resamples the documents for any.
    return measured if HAS_OUTPUT_TYPES else {**measured, "token_perplexity_stderr": measured["token_perplexity"]}
