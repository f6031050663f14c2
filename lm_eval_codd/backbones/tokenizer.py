"""Tokenizers of the families, through transformers' own classes: the published Dream one names remote code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lm_eval_codd.backbones.checkpoint import CONFIG_FILES, CheckpointError, find_checkpoint
from lm_eval_codd.backbones.registry import LAYOUTS, find_layout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def load_tokenizer(
    path_or_hub_id: str | Path, family: str | None = None, revision: str | None = None, *, is_apart: bool = False
) -> PreTrainedTokenizerFast:
    """The checkpoint's tokenizer with its chat template and special tokens. No code of the checkpoint is run.

    `AutoTokenizer` is not asked: it stops at `model_type: llada` and at an `auto_map`.

    Args:
        path_or_hub_id: as for `load_backbone`.
        family: as for `load_backbone`.
        revision: branch, tag or commit on the hub.
        is_apart: these are files of a tokenizer for checkpoints of `family`, not of one: a config.json beside them, as
            of another family, says nothing.

    Raises:
        CheckpointError: there is no tokenizer.json, nor the vocab.json and merges.txt that Dream ships instead.
    """
    import transformers

    what = "tokenizer" if is_apart else "checkpoint"
    checkpoint = find_checkpoint(path_or_hub_id, revision, files=CONFIG_FILES, kind=what)
    if is_apart:
        layout = next(layout for layout in LAYOUTS if layout.family == family)
    else:
        layout = find_layout(checkpoint, family)
    ingredients = ("vocab.json", "merges.txt")
    if (checkpoint.folder / "tokenizer.json").is_file():
        kind, found = transformers.PreTrainedTokenizerFast, "tokenizer.json"
    elif layout.tokenizer_class is None:
        raise CheckpointError(f"{what} `{checkpoint.source}` has no tokenizer.json; add its tokenizer's files")
    elif all((checkpoint.folder / name).is_file() for name in ingredients):
        kind, found = getattr(transformers, layout.tokenizer_class), " and ".join(ingredients)
    else:
        raise CheckpointError(
            f"{what} `{checkpoint.source}` has neither tokenizer.json nor {' and '.join(ingredients)}; "
            "add its tokenizer's files"
        )
    files = checkpoint.tokenizer_files()
    try:
        return kind.from_pretrained(checkpoint.folder, **files)
    except Exception as error:  # the libraries raise nothing narrower for a damaged file
        first: BaseException = error  # transformers may raise another one over it, of a library that it tries next
        while first.__context__ is not None and not first.__suppress_context__:
            first = first.__context__
        reason = f"{type(first).__name__}: {first}".splitlines()[0]
        raise CheckpointError(
            f"{what} `{checkpoint.source}`: its tokenizer cannot be read from {found} ({reason}); fetch them again"
        ) from error
