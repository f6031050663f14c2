"""Samples without a prompt: their perplexity under another language model, with the entropy that belongs to it."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import datasets

from lm_eval_codd.backbones.checkpoint import find_checkpoint
from lm_eval_codd.backbones.plain_tokenizer import load_plain_tokenizer
from lm_eval_codd.benchmarks import HAS_OUTPUT_TYPES, BenchmarkTask
from lm_eval_codd.carried import TokenText
from lm_eval_codd.catalogue import COUPLING, DIT_MODELS, GEN_PPL_SAMPLES
from lm_eval_codd.corpora.arguments import Arguments
from lm_eval_codd.corpora.perplexity import perplexity, perplexity_stderr
from lm_eval_codd.corpora.token_tasks import TokensTask
from lm_eval_codd.dit.metrics import PROTOCOLS, Scorer, unigram_entropy
from lm_eval_codd.files.hub_ids import with_owner
from lm_eval_codd.rows import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["SamplesTask", "perplexity", "perplexity_stderr", "process_results"]

_SCORER: Final = "gpt2-large"


class SamplesTask(TokensTask, BenchmarkTask):
    """Samples by number, each with how it is judged. See tasks/README.md for the arguments."""

    models = (*DIT_MODELS.values(), "dlm", COUPLING)

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Called by lm-eval once, to fill `dataset`. Raises `DataError` for a scorer or tokenizer that is not there."""
        name, metadata = self.config.task, self.config.metadata
        given = Arguments(name, metadata)
        samples, scorer = given.number("samples", GEN_PPL_SAMPLES), str(metadata.get("scorer", _SCORER))
        given.tokenizer()
        tokenizer, revision = given.tokenizer_source
        judge = {
            "protocol": given.choice("protocol", PROTOCOLS),
            "scorer": scorer,
            "max_length": given.length,
            "tokenizer": tokenizer,
            "tokenizer_revision": revision,
        }
        try:
            identity = find_checkpoint(with_owner(scorer), kind="scorer").identity
        except ValueError as error:
            raise DataError(f"{name}: {error}; name one with --metadata scorer=FOLDER") from None
        self.config.metadata = metadata | {"samples": samples, "judge": judge | {"scorer_identity": identity}}
        rows = [{"sample": number, **judge} for number in range(samples)]
        self.dataset = {self.config.test_split: datasets.Dataset.from_list(rows)}


def process_results(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
    """What one sample is worth.

    Raises:
        ValueError: the answer is a text that does not know its ids, or has ids that the tokenizer has not.
    """
    (answer,) = results
    if not isinstance(answer, TokenText) or answer.num_forward is None:
        raise ValueError(
            "dlm_gen_ppl: the model's answer is a text without its token ids; evaluate a model that makes samples "
            f"without a prompt: {', '.join(SamplesTask.models)}"
        )
    tokenizer, is_duo = _tokenizer(doc["tokenizer"], doc["tokenizer_revision"]), doc["protocol"] == "duo"
    beyond = [one for one in answer.ids if one >= len(tokenizer)]
    if beyond:
        raise ValueError(
            f"dlm_gen_ppl: token {beyond[0]} of a sample is none of the {len(tokenizer)} of `{doc['tokenizer']}`; "
            "name the model's own with --model_args ...,tokenizer="
        )
    kept = [one for one in answer.ids if one != tokenizer.pad_token_id]
    text = tokenizer.decode(list(answer.ids)) if is_duo else tokenizer.decode(kept, skip_special_tokens=True)
    (scored,) = _scorer(doc["scorer"], doc["protocol"], doc["max_length"]).score([str(text)])
    item = (-scored.nats, scored.num_tokens)
    measured: dict[str, Any] = {"gen_ppl": item}
    # lm-eval 0.4 has a standard error for its own metrics alone; 0.5 resamples the documents for any.
    measured |= {} if HAS_OUTPUT_TYPES else {"gen_ppl_stderr": item}
    measured |= _entropies(answer.ids, "")
    if not is_duo:
        measured |= _entropies(kept, "_without_pad")
    return {**measured, "nfe": float(answer.num_forward), "unscored": float(not scored.num_tokens)}


def _entropies(ids: Sequence[int], which: str) -> dict[str, float]:
    nats = unigram_entropy(ids) if ids else 0.0
    return {f"entropy{which}": nats, f"entropy_bits{which}": nats / math.log(2)}


# The documents of a run name one of each.
@functools.lru_cache(maxsize=1)
def _scorer(name: str, protocol: str, max_length: int) -> Scorer:
    return Scorer(name, protocol, max_length)


@functools.lru_cache(maxsize=1)
def _tokenizer(name: str, revision: str | None) -> PreTrainedTokenizerBase:
    return load_plain_tokenizer(name, revision)
