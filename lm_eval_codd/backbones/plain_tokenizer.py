"""A tokenizer by itself: GPT-2's or BERT's, of which the vocabularies of the DiT family are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from lm_eval_codd.backbones.checkpoint import CONFIG_FILES, CheckpointError, find_checkpoint
from lm_eval_codd.files.hub_ids import with_owner

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FILES: Final = (*CONFIG_FILES, "vocab.txt")
_PAD: Final = "[PAD]"


def load_plain_tokenizer(path_or_hub_id: str | Path, revision: str | None = None) -> PreTrainedTokenizerBase:
    """A tokenizer with begin, end and padding. No code of its folder is run.

    As in the training code of DUO and MDLM, [CLS] begins and [SEP] ends where nothing else does, and `[PAD]` is added
    behind the last id where there is no padding: 50257 of GPT-2, which DUO may draw.

    Args:
        path_or_hub_id: a folder, a hub id, or `gpt2` and its like.
        revision: branch, tag or commit on the hub.

    Raises:
        CheckpointError: one line: there is no tokenizer, or it cannot be read, or nothing begins or ends its texts.
    """
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    checkpoint = find_checkpoint(with_owner(str(path_or_hub_id)), revision, files=_FILES, kind="tokenizer")
    # Where tokenizer_config.json names no class, transformers goes by config.json, and stops at that of these models.
    says_its_class = "tokenizer_class" in checkpoint.read_json("tokenizer_config.json")
    is_known = says_its_class or checkpoint.read_json("config.json").get("model_type") in CONFIG_MAPPING
    kind = transformers.AutoTokenizer if is_known else transformers.PreTrainedTokenizerFast
    files = checkpoint.tokenizer_files()
    try:
        tokenizer = kind.from_pretrained(checkpoint.folder, trust_remote_code=False, **files)
    except Exception as error:  # transformers raises many kinds for files that do not fit
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CheckpointError(
            f"tokenizer `{path_or_hub_id}` cannot be read ({reason}); give a folder or hub id with a tokenizer's files"
        ) from error
    for name, other in (("bos_token", "cls_token"), ("eos_token", "sep_token")):
        if getattr(tokenizer, name) is None:
            setattr(tokenizer, name, getattr(tokenizer, other))
        if getattr(tokenizer, name) is None:
            raise CheckpointError(
                f"tokenizer `{path_or_hub_id}` has neither {name} nor {other}; name one in its tokenizer_config.json"
            )
    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": _PAD})
    return tokenizer
