"""Which family a checkpoint of `--model_alias masked_lm` is decoded as, by its small files; `backbones` proves it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from lm_eval_codd.catalogue import NATIVE
from lm_eval_codd.demo import packaged
from lm_eval_codd.files import special_tokens
from lm_eval_codd.runs import checkpoints
from lm_eval_codd.settings import FAMILIES, RULE_IF_BLOCKS, either, unknown_value

if TYPE_CHECKING:
    from lm_eval_codd.settings import Family

# By `model_type`, in small letters.
FAMILY_OF: Final[Mapping[str, Family]] = {
    "llada": "llada",
    "illada": "llada",
    "lladamoe": "llada",
    "ecdlm": "llada",
    "dream": "dream",
    "a2d-qwen2": "a2d",
    "a2d-qwen3": "a2d",
    "a2d-llama": "a2d",
    "modernbert": "a2d",
    "qwen2": "open_dllm",
    "qwen3": "open_dllm",
    "qwen3_moe": "llada",
    "sdar": "sdar",
    "sdar_moe": "sdar",
    "llada2_moe": "llada2",
    "llada2_moe_veomni": "llada2",
    "fast_dllm_qwen": "fast_dllm_v2",
}
# Those that ordinary autoregressive checkpoints have too, and what they may be besides.
_PLAIN: Final[Mapping[str, tuple[Family, ...]]] = {
    "qwen2": ("open_dllm", "a2d", "dream"),
    "qwen3": ("open_dllm", "a2d"),
    "qwen3_moe": ("llada", "open_dllm"),
}
# Those of which the files do not say whether they are shifted.
_NEED_FAMILY: Final = ("qwen3_moe",)
# Of the families that are block-causal, the field of config.json with the length of a block.
BLOCK_FIELDS: Final[Mapping[str, str]] = {
    "sdar": "block_size",
    "llada2": "block_length",
    "fast_dllm_v2": "bd_size",
}
# The rule of those whose files tell nothing, by a part of their names.
RULES_IF_NAMED: Final[Mapping[str, Mapping[str, str]]] = {"llada2": {"llada2.1": "llada21"}}
# By `model_type`, those that their class computes as a whole, so that nothing of them can be kept from step to step.
ENCODERS: Final = ("modernbert",)
# What the name of a block-causal one has, of the family that has checkpoints of either kind.
_BLOCKS: Final = "bd3lm"


def recognise(flag: str, checkpoint: str, given: Mapping[str, Any]) -> Family:
    """The family.

    Args:
        flag: by which the checkpoint is given.
        checkpoint: in the spelling of `checkpoints.resolve`.
        given: the run's flags; `family`, `attention` and `mask_id` are read.

    Raises:
        ValueError: one line: it is not decoded here, or nothing on this machine says what it is.
    """
    family = given.get("family")
    if family not in (None, *FAMILIES):
        raise ValueError(unknown_value("family", family, FAMILIES))
    folder = checkpoints.folder_of(checkpoint, packaged.CHECKPOINTS)
    if folder is None:
        if family is None:
            raise ValueError(
                f"`--{flag} {checkpoint}` is not on this machine, so nothing says its family; give --family "
                f"({either(FAMILIES)}), or fetch it first"
            )
        found = cast("Family", family)
    else:
        found = _by_files(flag, checkpoint, folder, given)
    if found in BLOCK_FIELDS and given.get("attention") == "full":
        raise ValueError(
            f"`--attention full`: {checkpoint} is {found}, whose checkpoints are block-causal; leave it out"
        )
    return found


def check_family(flag: str, folder: str, model_type: str, family: str) -> None:
    """Raise `ValueError` for a checkpoint that config.json says to be of another family than the run's."""
    own = FAMILY_OF.get(model_type)
    if own in (None, family) or family in _PLAIN.get(model_type, ()):
        return
    alias = own if own in ("llada", "dream") else "masked_lm"
    article = "an" if model_type.startswith("a") else "a"
    raise ValueError(f"`--{flag} {folder}` is {article} {model_type} checkpoint; use --model_alias {alias}")


def _by_files(flag: str, checkpoint: str, folder: Path, given: Mapping[str, Any]) -> Family:
    config = checkpoints.read_json(folder / "config.json")
    model_type, family = str(config.get("model_type", "")).lower(), given.get("family")
    own = FAMILY_OF.get(model_type)
    if family is not None and (own is None or family in _PLAIN.get(model_type, (own,))):
        return cast("Family", family)
    if model_type == NATIVE:
        raise ValueError(
            f"`--{flag} {checkpoint}` is DiffusionGemma, which has no mask, and which no launcher runs; use lm_eval "
            f"--model {NATIVE}"
        )
    if own is None:
        raise ValueError(
            f"`--{flag} {checkpoint}` has `model_type` {model_type or 'nothing'}, and decoded here are "
            f"{', '.join(FAMILY_OF)}; say --family where its files have the layout of one"
        )
    if family is not None:
        raise ValueError(f"`--family {family}`: {checkpoint} is {own} (model_type {model_type}); leave it out")
    if model_type in _PLAIN and mask_token(folder, "open_dllm") is None:
        raise ValueError(
            f"`--{flag} {checkpoint}` has `model_type` {model_type} and no mask token in its tokenizer's files, as an "
            f"ordinary autoregressive model; if it is a diffusion model, give both --family "
            f"({either(_PLAIN[model_type])}) and --mask_id"
        )
    if model_type in _NEED_FAMILY and family is None:
        raise ValueError(
            f"`--{flag} {checkpoint}` has `model_type` {model_type}, and nothing in its files says whether it is "
            f"shifted; give --family {either(_PLAIN[model_type])} (open_dllm: shifted)"
        )
    return own


def attention_of(checkpoint: str, family: Family, given: Mapping[str, Any]) -> str:
    """`full`, or `block` where a position sees its own block and those before it."""
    if family not in RULE_IF_BLOCKS:
        return "block" if family in BLOCK_FIELDS else "full"
    return given.get("attention") or ("block" if _BLOCKS in checkpoint.lower() else "full")


def is_encoder(checkpoint: str) -> bool:
    """Whether its class computes whole rows; False for one that is not on this machine."""
    folder = checkpoints.folder_of(checkpoint, packaged.CHECKPOINTS)
    return folder is not None and checkpoints.model_type(str(folder)) in ENCODERS


def block_settings(checkpoint: str, family: Family, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that follow from a checkpoint's blocks; none where its attention is full."""
    if attention_of(checkpoint, family, given) == "full":
        return {}
    settings: dict[str, Any] = {}
    if family in RULE_IF_BLOCKS:
        settings = {"decoder": "block_diffusion", "rule": RULE_IF_BLOCKS[family]}
    for part, rule in RULES_IF_NAMED.get(family, {}).items():
        if part in checkpoint.lower():
            settings["rule"] = rule
    folder = checkpoints.folder_of(checkpoint, packaged.CHECKPOINTS)
    config = {} if folder is None else checkpoints.read_json(folder / "config.json")
    value = config.get(BLOCK_FIELDS.get(family, "block_size"))
    return {**settings, "block_length": value} if type(value) is int else settings


def mask_token(folder: Path, family: Family) -> int | None:
    """Id of the mask token of a checkpoint on this machine; None where none of its files names one."""
    config = checkpoints.read_json(folder / "config.json")
    if config.get("mask_token_id") is not None:
        return cast("int", config["mask_token_id"])
    found = special_tokens.find_mask(reader(folder))
    if found is not None:
        return found.id
    is_a2d = family == "a2d" and str(config.get("model_type")).lower().startswith("a2d-")
    return special_tokens.first_free_id(reader(folder)) if is_a2d else None


def reader(folder: Path) -> special_tokens.Read:
    """How `special_tokens` reads a checkpoint."""
    return lambda name: checkpoints.read_json(folder / name)
