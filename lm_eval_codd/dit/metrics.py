"""What samples are judged by: generative perplexity, and the entropy without which it means nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch

from lm_eval_codd.backbones.checkpoint import CONFIG_FILES, WEIGHT_FILES, CheckpointError, find_checkpoint
from lm_eval_codd.files.hub_ids import with_owner
from lm_eval_codd.settings import unknown_value

if TYPE_CHECKING:
    from torch import Tensor

PROTOCOLS: Final = ("duo", "coupling")
_LONGEST_OF_COUPLING: Final = 256


def unigram_entropy(ids: Iterable[int] | Tensor) -> float:
    """Nats of the distribution of ids in one sample. Low where a sample repeats itself."""
    each = ids.flatten().tolist() if isinstance(ids, torch.Tensor) else list(ids)
    shares = [count / len(each) for count in Counter(each).values()]
    return sum(share * -math.log(share) for share in shares)


class Scored(NamedTuple):
    """What a scorer thinks of a text: nats of the tokens that count, and how many do."""

    nats: float
    num_tokens: int


def generative_perplexity(
    texts: Sequence[str], scorer: str | Path, protocol: str = "duo", max_length: int = 1024, batch_size: int = 8
) -> float:
    """Perplexity of texts under another language model, over all their scored tokens.

    Report it together with `unigram_entropy`: repetition lowers both.

    Args:
        texts: samples as text. For `duo` with special tokens kept, for `coupling` without padding.
        scorer: folder or hub id of an autoregressive model with its tokenizer, such as gpt2-large.
        protocol: see `Scorer`.
        max_length: tokens of a text, at most as many as the scorer takes; what is longer is cut.
        batch_size: texts at a time.

    Returns:
        exp of the mean over all scored tokens. Of `coupling`, whose first token is free, 1 where no text has a second
        one, as in its authors' code.

    Raises:
        ValueError: one line: the scorer cannot be loaded, or there is nothing to score.
    """
    scored = Scorer(scorer, protocol, max_length).score(texts, batch_size)
    number = sum(each.num_tokens for each in scored)
    if not number and protocol == "coupling" and any(texts):
        return 1.0
    if not number:
        raise ValueError("no text has a second token, so there is nothing to score; give longer texts")
    return math.exp(math.fsum(each.nats for each in scored) / number)


class Scorer:
    """An autoregressive model that judges texts.

    Args:
        path_or_hub_id: a folder or hub id with its tokenizer, such as gpt2-large.
        protocol: `duo` scores every token but the first, an end token only where it is the row's first; `coupling`
            every token but the first, of at most 256.
        max_length: tokens of a text, at most as many as the scorer takes; what is longer is cut.

    Raises:
        ValueError: one line: there is no such protocol, or the scorer cannot be loaded.
    """

    def __init__(self, path_or_hub_id: str | Path, protocol: str = "duo", max_length: int = 1024) -> None:
        if protocol not in PROTOCOLS:
            raise ValueError(unknown_value("protocol", protocol, PROTOCOLS))
        self._is_duo = protocol == "duo"
        self._model, self._tokenizer = _load_scorer(path_or_hub_id)
        longest = max_length if self._is_duo else min(max_length, _LONGEST_OF_COUPLING)
        taken = getattr(self._model.config, "max_position_embeddings", None)
        self._longest = longest if taken is None else min(longest, taken)

    @torch.inference_mode()
    def score(self, texts: Sequence[str], batch_size: int = 8) -> list[Scored]:
        """Each text by itself: padding is masked, and the last ones are scored too, so the batch changes nothing."""
        if batch_size < 1:
            raise ValueError(f"`batch_size={batch_size}` must be at least 1")
        rows = [self._tokenizer(text, add_special_tokens=False)["input_ids"][: self._longest] for text in texts]
        found: list[Scored] = []
        for start in range(0, len(rows), batch_size):
            found += self._score(rows[start : start + batch_size])
        return found

    def _score(self, rows: Sequence[Sequence[int]]) -> list[Scored]:
        width, device = max(map(len, rows)), self._model.device
        if width < 2:
            return [Scored(0.0, 0)] * len(rows)
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
        real = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        log_p = self._model(ids, attention_mask=real).logits[:, :-1].float().log_softmax(dim=-1)
        nats = -log_p.gather(-1, ids[:, 1:, None])[..., 0].double()
        scored = real.bool()
        if self._is_duo:
            ends = scored & (ids == self._tokenizer.eos_token_id)
            scored = scored & (~ends | (ends.cumsum(dim=1) == 1))
        counts = scored[:, 1:]
        sums = nats.where(counts, 0.0).sum(dim=1).tolist()
        return [Scored(*pair) for pair in zip(sums, counts.sum(dim=1).tolist(), strict=True)]


def _load_scorer(scorer: str | Path) -> tuple[Any, Any]:
    import transformers

    checkpoint = find_checkpoint(with_owner(str(scorer)), files=(*CONFIG_FILES, *WEIGHT_FILES), kind="scorer")
    files = checkpoint.tokenizer_files()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint.folder, trust_remote_code=False, **files)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            checkpoint.folder, use_safetensors=True, dtype=torch.float32, trust_remote_code=False
        )
    except Exception as error:  # transformers raises many kinds for files that do not fit
        raise CheckpointError(f"scorer `{scorer}` cannot be loaded: {str(error).splitlines()[0]}") from error
    return model.eval().to(torch.device("cuda" if torch.cuda.is_available() else "cpu")), tokenizer
