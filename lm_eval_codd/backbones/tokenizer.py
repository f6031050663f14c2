"""Tokenizers of the families, through transformers' own classes: the published Dream one names remote code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lm_eval_codd.backbones.checkpoint import CONFIG_FILES, CheckpointError, find_checkpoint
from lm_eval_codd.backbones.registry import find_layout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def load_tokenizer(
    path_or_hub_id: str | Path, family: str | None = None, revision: str | None = None
) -> PreTrainedTokenizerFast:
    """The checkpoint's tokenizer with its chat template and special tokens. No code of the checkpoint is run.

    `AutoTokenizer` is not asked: it stops at `model_type: llada` and at an `auto_map`.

    Args:
        path_or_hub_id: as for `load_backbone`.
        family: as for `load_backbone`.
        revision: branch, tag or commit on the hub.

    Raises:
        CheckpointError: there is no tokenizer.json, nor the vocab.json and merges.txt that Dream ships instead.
    """
    import transformers

    checkpoint = find_checkpoint(path_or_hub_id, revision, files=CONFIG_FILES)
    layout = find_layout(checkpoint, family)
    if (checkpoint.folder / "tokenizer.json").is_file():
        return transformers.PreTrainedTokenizerFast.from_pretrained(checkpoint.folder)
    ingredients = ("vocab.json", "merges.txt")
    if layout.tokenizer_class is None:
        raise CheckpointError(f"checkpoint `{checkpoint.source}` has no tokenizer.json; add its tokenizer's files")
    if not all((checkpoint.folder / name).is_file() for name in ingredients):
        raise CheckpointError(
            f"checkpoint `{checkpoint.source}` has neither tokenizer.json nor {' and '.join(ingredients)}; "
            "add its tokenizer's files"
        )
    return getattr(transformers, layout.tokenizer_class).from_pretrained(checkpoint.folder)
