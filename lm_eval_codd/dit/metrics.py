"""What samples are judged by: generative perplexity, and the entropy without which it means nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from lm_eval_codd.backbones.checkpoint import CONFIG_FILES, WEIGHT_FILES, CheckpointError, find_checkpoint
from lm_eval_codd.hub_ids import with_owner
from lm_eval_codd.settings import unknown_value

if TYPE_CHECKING:
    from torch import Tensor

PROTOCOLS: Final = ("duo", "coupling")
_LONGEST_OF_COUPLING: Final = 256


def unigram_entropy(ids: Iterable[int] | Tensor) -> float:
    """Nats of the distribution of ids in one sample. Low where a sample repeats itself."""
    each = ids.flatten().tolist() if isinstance(ids, torch.Tensor) else list(ids)
    shares = [count / len(each) for count in Counter(each).values()]
    return -sum(share * math.log(share) for share in shares)


@torch.inference_mode()
def generative_perplexity(
    texts: Sequence[str], scorer: str | Path, protocol: str = "duo", max_length: int = 1024, batch_size: int = 8
) -> float:
    """Perplexity of texts under another language model, over all their scored tokens.

    Texts are scored alone: padding is masked, and the last ones are scored too, so that the batch changes nothing.
    Report it together with `unigram_entropy`: repetition lowers both.

    Args:
        texts: samples as text. For `duo` with special tokens kept, for `coupling` without padding.
        scorer: folder or hub id of an autoregressive model with its tokenizer, such as gpt2-large.
        protocol: `duo` scores every token but the first, an end token only where it is the row's first; `coupling`
            every token but the first, of at most 256.
        max_length: tokens of a text; what is longer is cut.
        batch_size: texts at a time.

    Raises:
        ValueError: one line: the scorer cannot be loaded, or there is nothing to score.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(unknown_value("protocol", protocol, PROTOCOLS))
    model, tokenizer = _load_scorer(scorer)
    longest = min(max_length, _LONGEST_OF_COUPLING) if protocol == "coupling" else max_length
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"][:longest] for text in texts]
    total, number = 0.0, 0
    for start in range(0, len(rows), batch_size):
        some = rows[start : start + batch_size]
        width = max(map(len, some))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in some], device=model.device).view(len(some), width)
        real = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in some], device=model.device)
        if width < 2:
            continue
        log_p = model(ids, attention_mask=real).logits[:, :-1].float().log_softmax(dim=-1)
        nats = -log_p.gather(-1, ids[:, 1:, None])[..., 0].double()
        scored = real.bool()
        if protocol == "duo":
            ends = scored & (ids == tokenizer.eos_token_id)
            scored = scored & (~ends | (ends.cumsum(dim=1) == 1))
        total += float(nats[scored[:, 1:]].sum())
        number += int(scored[:, 1:].sum())
    if not number:
        raise ValueError("no text has a second token, so there is nothing to score; give longer texts")
    return math.exp(total / number)


def _load_scorer(scorer: str | Path) -> tuple[Any, Any]:
    import transformers

    checkpoint = find_checkpoint(with_owner(str(scorer)), files=(*CONFIG_FILES, *WEIGHT_FILES), kind="scorer")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint.folder)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            checkpoint.folder, use_safetensors=True, dtype=torch.float32
        )
    except Exception as error:  # transformers raises many kinds for files that do not fit
        raise CheckpointError(f"scorer `{scorer}` cannot be loaded: {str(error).splitlines()[0]}") from error
    return model.eval().to(torch.device("cuda" if torch.cuda.is_available() else "cpu")), tokenizer
