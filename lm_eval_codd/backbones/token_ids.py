"""Mask and end tokens of a checkpoint, read from its JSON files: no tokenizer is built for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lm_eval_codd.backbones.checkpoint import Checkpoint, CheckpointError
from lm_eval_codd.files import special_tokens
from lm_eval_codd.terminal.clean_text import shortened

if TYPE_CHECKING:
    from lm_eval_codd.backbones.layout import Layout


@dataclass(frozen=True)
class TokenIds:
    """Ids below the number of logit columns; `eot_id` is None where a checkpoint has no end-of-turn token.

    mask_source: where the mask's id comes from, for people.
    """

    mask_id: int
    eos_id: int
    eot_id: int | None
    mask_source: str = "as given"


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
    mask_source = "as given"
    if mask_id is None:
        mask_id, mask_source = _find_mask_id(checkpoint, layout)
    ends = _configured(checkpoint, "eos_token_id")
    if eot_id is None and layout.end_of_turn is not None:
        eot_id = _id_of(checkpoint, layout.end_of_turn)
    elif eot_id is None and len(ends) > 1:
        eot_id = ends[1]
    if eot_id is None and layout.published is not None and vocab_size == layout.published[0]:
        eot_id = layout.published[1]
    if eos_id is None:
        eos_id = ends[0] if ends else _end_of_text(checkpoint)
        if eos_id == eot_id and layout.end_of_text is not None:
            of_text = _id_of(checkpoint, layout.end_of_text)
            eos_id = eos_id if of_text is None else of_text
    for name, value in (("mask_id", mask_id), ("eos_id", eos_id), ("eot_id", eot_id)):
        if value is None and name != "eot_id":
            raise CheckpointError(
                f"checkpoint `{checkpoint.source}`: config.json has no {name.replace('_id', '_token_id')}, and its "
                f"tokenizer's files do not name the token; give `{name}=`"
            )
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise CheckpointError(
                f"`{name}={shortened(value)}` of `{checkpoint.source}` is no token id; give a whole number as `{name}=`"
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
    return TokenIds(mask_id, eos_id, eot_id, mask_source)


def _find_mask_id(checkpoint: Checkpoint, layout: Layout) -> tuple[int | None, str]:
    configured = _configured(checkpoint, "mask_token_id")
    if configured:
        return configured[0], "mask_token_id of config.json"
    found = special_tokens.find_mask(checkpoint.read_json, layout.mask_tokens)
    if found is not None:
        return found.id, f"the mask token of {found.file}"
    # Under the family's own model_type only: to another model its training has added none.
    if layout.mask_is_first_free and checkpoint.config.get("model_type") == layout.model_type:
        return special_tokens.first_free_id(checkpoint.read_json), "the first id that the tokenizer leaves free"
    return None, ""


def _end_of_text(checkpoint: Checkpoint) -> int | None:
    found = special_tokens.end_of_text(checkpoint.read_json)
    return None if found is None else found.id


def _id_of(checkpoint: Checkpoint, token: str) -> int | None:
    found = special_tokens.find_token(checkpoint.read_json, token)
    return None if found is None else found.id


def _configured(checkpoint: Checkpoint, name: str) -> list[Any]:
    """What config.json says, as a list: an eos may be one of several, the end of text first."""
    value: Any = checkpoint.config.get(name)
    return value if isinstance(value, list) else [] if value is None else [value]
