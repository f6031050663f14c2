"""Which layout a checkpoint has. A new family is one file in families/ and one entry here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from lm_eval_codd.backbones.checkpoint import Checkpoint, CheckpointError
from lm_eval_codd.backbones.families.a2d import A2D_LLAMA, A2D_QWEN2, A2D_QWEN3
from lm_eval_codd.backbones.families.dream import DREAM
from lm_eval_codd.backbones.families.ecdlm import ECDLM
from lm_eval_codd.backbones.families.fast_dllm_v2 import FAST_DLLM_V2
from lm_eval_codd.backbones.families.illada import ILLADA
from lm_eval_codd.backbones.families.llada import LLADA
from lm_eval_codd.backbones.families.llada2 import LLADA2
from lm_eval_codd.backbones.families.llada2_veomni import LLADA2_VEOMNI
from lm_eval_codd.backbones.families.lladamoe import LLADA_MOE
from lm_eval_codd.backbones.families.modernbert import MODERNBERT
from lm_eval_codd.backbones.families.open_dllm import OPEN_DLLM_QWEN2, OPEN_DLLM_QWEN3
from lm_eval_codd.backbones.families.qwen3_moe import OPEN_DLLM_QWEN3_MOE, QWEN3_MOE
from lm_eval_codd.backbones.families.sdar import SDAR, SDAR_MOE
from lm_eval_codd.files.special_tokens import find_mask
from lm_eval_codd.settings import unknown_value

if TYPE_CHECKING:
    from lm_eval_codd.backbones.layout import Layout

# The first layout of a family is the one that `family=` means for a model_type that is not listed.
LAYOUTS: Final[list[Layout]] = [
    LLADA,
    DREAM,
    LLADA_MOE,
    A2D_QWEN3,
    A2D_QWEN2,
    A2D_LLAMA,
    OPEN_DLLM_QWEN2,
    OPEN_DLLM_QWEN3,
    QWEN3_MOE,
    OPEN_DLLM_QWEN3_MOE,
    SDAR,
    SDAR_MOE,
    LLADA2,
    LLADA2_VEOMNI,
    FAST_DLLM_V2,
    ECDLM,
    ILLADA,
    MODERNBERT,
]


class Wrapped(NamedTuple):
    """What no layout loads: checkpoints that transformers' own class decodes, under a model of their own."""

    examples: str
    architecture: str
    attention: str
    model: str


# By model_type.
WRAPPED: Final = {
    "diffusion_gemma": Wrapped(
        "diffusiongemma-26B-A4B-it",
        "DiffusionGemmaForBlockDiffusion",
        "causal, and full in canvases of `canvas_length` (256)",
        "diffusion_gemma",
    ),
}

# Families that lm-eval has a model of; `masked_lm` takes all.
_OWN_MODELS: Final = ("llada", "dream")


def find_layout(checkpoint: Checkpoint, family: str | None = None) -> Layout:
    """The layout that config.json names, or the family's own where it names an unknown one.

    Args:
        checkpoint: its config.json is read.
        family: one of `LAYOUTS`, for a checkpoint of that layout under another `model_type`; or the family by whose
            rules the checkpoint's own is decoded.

    Raises:
        CheckpointError: the checkpoint is of another family, or autoregressive, or `family` contradicts what it says of
            itself.
    """
    families = list(dict.fromkeys(layout.family for layout in LAYOUTS))
    if family is not None and family not in families:
        raise CheckpointError(unknown_value("family", family, families))
    model_type = checkpoint.config.get("model_type")
    if (wrapped := WRAPPED.get(str(model_type))) is not None:
        raise CheckpointError(
            f"checkpoint `{checkpoint.source}` is `model_type: {model_type}`, which has no mask, and which its own "
            f"`generate` in transformers decodes; use --model {wrapped.model}"
        )
    if (layout := _named_by_files(checkpoint)) is not None:
        if layout.is_plain and family is None:
            if _mark(checkpoint) is None:
                raise CheckpointError(_autoregressive(checkpoint, layout))
            if layout.needs_family:
                raise CheckpointError(_shifted_or_not(checkpoint, layout))
        if family not in (None, layout.family, layout.decoding):
            if (other := _as_plain(layout, family)) is not None:
                return other
            raise CheckpointError(
                f"`family={family}`: checkpoint `{checkpoint.source}` is {layout.family} (`model_type: "
                f"{model_type}`); {_instead(layout)}"
            )
        return layout
    if family is not None:
        return next(layout for layout in LAYOUTS if layout.family == family)
    if model_type is None:
        raise CheckpointError(
            f"checkpoint `{checkpoint.source}`: config.json names no `model_type`; say which layout its files have "
            f"with family={' or family='.join(families)}"
        )
    named = checkpoint.config.get("architectures")
    architectures = ", ".join(map(str, named))[:120] if isinstance(named, list) and named else "no architecture named"
    known = dict.fromkeys(layout.model_type for layout in LAYOUTS)
    raise CheckpointError(
        f"checkpoint `{checkpoint.source}` is `model_type: {str(model_type)[:60]}` ({architectures}), not a diffusion "
        f"family known here ({', '.join(known)}); if its files have the layout of "
        f"one, say so with family=, such as family={families[0]} or family={families[1]}"
    )


def recognised_by(checkpoint: Checkpoint, layout: Layout, family: str | None) -> str:
    """Why a checkpoint is taken for one of this layout."""
    model_type = checkpoint.config.get("model_type")
    why = f"its model_type is {model_type}"
    if layout.also_marked is not None and layout.also_marked[0] == model_type:
        why += f" with {' and '.join(layout.also_marked[1])}"
    if family is not None and (layout.is_plain or layout.model_type != model_type):
        why = f"family={family} was given, {why}"
    mark = _mark(checkpoint) if layout.is_plain else None
    return why if mark is None else f"{why}, and {mark}"


def _named_by_files(checkpoint: Checkpoint) -> Layout | None:
    """The layout of config.json's `model_type`; None where no layout has it."""
    model_type = checkpoint.config.get("model_type")
    for layout in LAYOUTS:
        other, fields = layout.also_marked or (None, ())
        if not fields or model_type != other or layout.never_has in checkpoint.config:
            continue
        if all(checkpoint.config.get(name) is not None for name in fields):
            return layout
    return next((layout for layout in LAYOUTS if layout.model_type == model_type), None)


def _mark(checkpoint: Checkpoint) -> str | None:
    """What tells a diffusion model from the autoregressive one that it was made from; None where nothing does."""
    if checkpoint.config.get("mask_token_id") is not None:
        return "its config.json has a mask_token_id"
    mask = find_mask(checkpoint.read_json)
    return None if mask is None else f"{mask.file} has the mask token {mask.token}"


def _as_plain(layout: Layout, family: str) -> Layout | None:
    """The family's layout of the same class, where the `model_type` of `layout` says no more than that class."""
    alike = [one for one in LAYOUTS if (one.family, one.architecture) == (family, layout.architecture)]
    return alike[0] if layout.is_plain and alike else None


def _autoregressive(checkpoint: Checkpoint, layout: Layout) -> str:
    families = [one.family for one in LAYOUTS if one.architecture == layout.architecture and one.decoding is not None]
    return (
        f"checkpoint `{checkpoint.source}` is `model_type: {layout.model_type}` and its tokenizer's files have no mask "
        "token, as an ordinary autoregressive model, which is not evaluated as a diffusion model; if it is one, give "
        f"both family= ({', '.join(dict.fromkeys(families))}) and mask_id="
    )


def _shifted_or_not(checkpoint: Checkpoint, layout: Layout) -> str:
    alike = [one for one in LAYOUTS if (one.model_type, one.needs_family) == (layout.model_type, True)]
    ways = [f"family={one.family} ({'shifted' if one.scored_by_previous else 'not shifted'})" for one in alike]
    return (
        f"checkpoint `{checkpoint.source}` is `model_type: {layout.model_type}`, and nothing in its files says whether "
        f"it was trained to predict the next position (shifted) or its own; give {' or '.join(ways)}"
    )


def _instead(layout: Layout) -> str:
    if layout.decoding is None:
        return "it loads with load_backbone alone: no decoder here follows its rules yet"
    model = layout.decoding if layout.decoding in _OWN_MODELS else "masked_lm"
    return f"use family={layout.family} (`--model {model}` in lm_eval)"
