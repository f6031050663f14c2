"""The tokenizer of texts to train on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lm_eval_codd.backbones.checkpoint import CONFIG_FILES, CheckpointError, find_checkpoint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_text_tokenizer(path_or_hub_id: str) -> PreTrainedTokenizerBase:
    """A tokenizer of its own, as published checkpoints of the family have none. No code of it is run.

    Raises:
        CheckpointError: one line: there is none, or it cannot be read.
    """
    import transformers

    found = find_checkpoint(path_or_hub_id, files=CONFIG_FILES, kind="tokenizer")
    try:
        if (found.folder / "tokenizer.json").is_file():
            return transformers.PreTrainedTokenizerFast.from_pretrained(found.folder)
        return transformers.AutoTokenizer.from_pretrained(found.folder, trust_remote_code=False)
    except Exception as error:  # the libraries raise nothing narrower for a damaged file
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CheckpointError(f"tokenizer `{found.source}` cannot be read ({reason}); fetch its files again") from None
