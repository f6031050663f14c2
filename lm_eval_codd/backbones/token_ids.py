"""Mask and end tokens of a checkpoint, read from its JSON files: no tokenizer is built for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lm_eval_codd.backbones.checkpoint import Checkpoint, CheckpointError

if TYPE_CHECKING:
    from lm_eval_codd.backbones.layout import Layout


@dataclass(frozen=True)
class TokenIds:
    """Ids below the number of logit columns; `eot_id` is None where a checkpoint has no end-of-turn token."""

    mask_id: int
    eos_id: int
    eot_id: int | None


def find_token_ids(
    checkpoint: Checkpoint,
    layout: Layout,
    vocab_size: int,
    *,
    mask_id: int | None = None,
    eos_id: int | None = None,
    eot_id: int | None = None,
) -> TokenIds:
    """Ids from config.json, else from the tokenizer's files; those given win.

    Raises:
        CheckpointError: there is no mask or eos id, or an id has no logit column.
    """
    if mask_id is None:
        mask_id = _configured(checkpoint, "mask_token_id")
    if mask_id is None and layout.mask_token is not None:
        mask_id = find_token(checkpoint, layout.mask_token)
    if eos_id is None:
        eos_id = _configured(checkpoint, "eos_token_id")
    if eos_id is None:
        eos_id = _end_of_text(checkpoint)
    if eot_id is None and layout.end_of_turn is not None:
        eot_id = find_token(checkpoint, layout.end_of_turn)
    if eot_id is None and layout.published is not None and vocab_size == layout.published[0]:
        eot_id = layout.published[1]
    for name, value in (("mask_id", mask_id), ("eos_id", eos_id), ("eot_id", eot_id)):
        if value is None and name != "eot_id":
            raise CheckpointError(
                f"checkpoint `{checkpoint.source}`: config.json has no {name.replace('_id', '_token_id')}, and its "
                f"tokenizer's files do not name the token; give `{name}=`"
            )
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise CheckpointError(
                f"`{name}={value!r}` of `{checkpoint.source}` is no token id; give a whole number as `{name}=`"
            )
        if value is not None and not 0 <= value < vocab_size:
            raise CheckpointError(
                f"`{name}={value}` is outside the {vocab_size} logit columns of `{checkpoint.source}`; give another "
                f"`{name}=`, or the tokenizer that belongs to it"
            )
    if mask_id == eos_id:
        raise CheckpointError(f"`mask_id={mask_id}` and `eos_id={eos_id}` must differ; give the right `mask_id=`")
    if mask_id == eot_id:
        raise CheckpointError(f"`mask_id={mask_id}` and `eot_id={eot_id}` must differ; give the right `eot_id=`")
    assert mask_id is not None and eos_id is not None  # or the loop has raised
    return TokenIds(mask_id, eos_id, eot_id)


def find_token(checkpoint: Checkpoint, token: str) -> int | None:
    """Id of a token string in tokenizer_config.json, added_tokens.json or tokenizer.json; None when in none."""
    listed = checkpoint.read_json("tokenizer_config.json").get("added_tokens_decoder") or {}
    for index, entry in listed.items():
        if entry.get("content") == token:
            return int(index)
    added = checkpoint.read_json("added_tokens.json")
    if token in added:
        return added[token]
    if (checkpoint.folder / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        try:
            return Tokenizer.from_file(str(checkpoint.folder / "tokenizer.json")).token_to_id(token)
        except Exception as error:  # the library raises nothing narrower
            raise CheckpointError(
                f"checkpoint `{checkpoint.source}`: tokenizer.json cannot be read ({error}); fetch the file again"
            ) from None
    return None


def _end_of_text(checkpoint: Checkpoint) -> int | None:
    token = checkpoint.read_json("tokenizer_config.json").get("eos_token")
    token = token.get("content") if isinstance(token, dict) else token
    return find_token(checkpoint, token) if isinstance(token, str) else None


def _configured(checkpoint: Checkpoint, name: str) -> int | None:
    value: Any = checkpoint.config.get(name)
    # A list names every end token, the end of text first.
    return value[0] if isinstance(value, list) and value else value
