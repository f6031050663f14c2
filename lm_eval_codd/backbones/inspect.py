"""`lm-eval-codd inspect CKPT`: what a checkpoint is, and that it works."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval_codd.backbones.checkpoint import find_checkpoint
from lm_eval_codd.backbones.family_table import checked_of, decoding_of
from lm_eval_codd.backbones.loading import load_backbone
from lm_eval_codd.backbones.registry import find_layout
from lm_eval_codd.backbones.tokenizer import load_tokenizer
from lm_eval_codd.settings import STATIC
from lm_eval_codd.terminal.clean_text import one_line
from lm_eval_codd.terminal.parser import Parser

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from lm_eval_codd.backbones.backbone import Backbone

_ROUTING = ("chooser", "schedule", "k_min", "k_max")
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json")


def describe_checkpoint(
    path_or_hub_id: str | Path, family: str | None = None, revision: str | None = None, **options: Any
) -> dict[str, Any]:
    """Load a checkpoint with its tokenizer and say what they are, in values that JSON can hold.

    Args:
        path_or_hub_id: as for `load_backbone`.
        family: as for `load_backbone`.
        revision: as for `load_backbone`.
        options: its other arguments (dtype, device, peft, attention, block_length, mask_id, eos_id, eot_id).

    Returns:
        One entry a line of `inspect`. `tokenizer` is None for a checkpoint without one; a chat template means that
        the checkpoint was tuned to follow instructions, or comes from one that was.

    Raises:
        CheckpointError: the checkpoint cannot be used.
    """
    backbone = load_backbone(path_or_hub_id, family, revision=revision, **options)
    checkpoint = find_checkpoint(path_or_hub_id, revision)
    layout = find_layout(checkpoint, family)
    tokenizer = None
    if any((checkpoint.folder / name).is_file() for name in _TOKENIZER_FILES):
        tokenizer = load_tokenizer(path_or_hub_id, family, revision)
    config = backbone.model.config
    return {
        "checkpoint": backbone.source,
        "identity": backbone.identity,
        "family": backbone.family,
        "layout": backbone.layout,
        "decodes": backbone.decodes,
        "decoded_by": decoding_of(layout, backbone.attention),
        "checked": checked_of(layout),
        "unverified": layout.unverified,
        "recognised_by": backbone.recognised_by,
        "attention": backbone.attention,
        # Of an encoder, the positions on either side that its local layers see.
        "window": config.sliding_window if backbone.is_encoder else None,
        "block_length": backbone.block_length,
        "experts": _experts(backbone),
        "scored_by_previous": backbone.scored_by_previous,
        "model_type": checkpoint.config.get("model_type"),
        "architecture": type(backbone.model).__name__,
        "num_layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "num_heads": config.num_attention_heads,
        "num_key_value_heads": getattr(config, "num_key_value_heads", config.num_attention_heads),
        "num_parameters": backbone.num_parameters,
        "num_files": len(checkpoint.weight_files),
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "stored_dtype": checkpoint.stored_dtype,
        "device": str(backbone.device),
        "max_length": backbone.max_length,
        "vocab_size": backbone.vocab_size,
        "mask": _token(backbone.mask_id, tokenizer),
        "mask_source": backbone.mask_source,
        "eos": _token(backbone.eos_id, tokenizer),
        "eot": _token(backbone.eot_id, tokenizer),
        "tokenizer": None if tokenizer is None else {"class": type(tokenizer).__name__, "vocab_size": len(tokenizer)},
        "chat_template": getattr(tokenizer, "chat_template", None),
        # `load_backbone` raises where it is not, so that nothing causal is ever evaluated.
        "bidirectional": True,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print a checkpoint's description; the exit status. Raises `CheckpointError`, one line, where it has none."""
    parser = Parser(
        prog="lm-eval-codd inspect",
        description="Say what a checkpoint is, and check that it works.",
        epilog="example:\n  lm-eval-codd inspect GSAI-ML/LLaDA-8B-Instruct",
    )
    parser.add_argument("checkpoint", help="a folder, a hub id, or demo")
    parser.add_argument("--family", help="the layout of a checkpoint under another model_type")
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    parser.add_argument("--dtype", help="auto, bfloat16, float16, float32")
    parser.add_argument("--device", help="such as cpu or cuda:0")
    parser.add_argument("--peft", help="folder or hub id of a LoRA adapter")
    parser.add_argument("--attention", help="full or block, for a family that has checkpoints of either kind")
    parser.add_argument("--block_length", type=int, help="of the blocks of attention=block")
    for name in ("mask_id", "eos_id", "eot_id"):
        parser.add_argument(f"--{name}", type=int, help="override the checkpoint's id")
    given = vars(parser.parse_args(argv))
    for label, text in _lines(describe_checkpoint(given.pop("checkpoint"), **given)):
        print(f"{label:<14} {one_line(text)}")
    return 0


def _lines(about: dict[str, Any]) -> list[tuple[str, str]]:
    shape = (
        f"{about['num_layers']} layers, width {about['hidden_size']}, {about['num_heads']} heads "
        f"({about['num_key_value_heads']} for keys and values)"
    )
    return [
        ("checkpoint", about["checkpoint"]),
        ("identity", about["identity"]),
        ("family", f"{_family_text(about)} (model_type {about['model_type']}, computed by {about['architecture']})"),
        ("recognised", f"as {about['layout']}, since {about['recognised_by']}; the mask is {about['mask_source']}"),
        ("architecture", shape),
        ("attention", _attention_text(about)),
        *([("decoded by", about["decoded_by"].replace("`", ""))] if about["decodes"] else []),
        ("equal to", _checked_text(about)),
        *([] if about["unverified"] is None else [("unverified", about["unverified"])]),
        *([] if about["experts"] is None else [("experts", _experts_text(about["experts"]))]),
        ("scores", "the next position (shifted)" if about["scored_by_previous"] else "its own position (not shifted)"),
        ("parameters", f"{about['num_parameters']:,} in {about['num_files']} file(s)"),
        ("dtype", f"{about['dtype']} on {about['device']} (stored as {about['stored_dtype']})"),
        ("max length", f"{about['max_length']} tokens, prompt and answer together"),
        ("mask", _token_text(about["mask"])),
        ("eos", _token_text(about["eos"])),
        ("eot", _token_text(about["eot"])),
        ("vocabulary", _vocabulary_text(about)),
        ("chat template", _template_text(about)),
        ("self-test", _self_test_text(about)),
    ]


def _self_test_text(about: dict[str, Any]) -> str:
    equal = "its class computes it" if about["window"] is not None else "hidden states equal transformers' own"
    return f"passed: attention sees both ways, and {equal}"


def _attention_text(about: dict[str, Any]) -> str:
    if about["window"] is not None:
        return f"full; in its local layers {about['window']} positions on either side"
    if about["block_length"] is None:
        return "full: every position sees every other one"
    return f"block: a position sees its own block of {about['block_length']} and those before it"


def _experts(backbone: Backbone) -> dict[str, Any] | None:
    if backbone.experts is None:
        return None
    routing = backbone.own_routing
    own = None if routing is None else {name: getattr(routing, name) for name in _ROUTING}
    return {"num": backbone.experts.num, "per_token": backbone.experts.k, "gates": backbone.experts.gates, "own": own}


def _experts_text(experts: dict[str, Any]) -> str:
    own = experts["own"]
    text = f"{experts['num']} a layer, {experts['per_token']} of a token as trained"
    if own is None or own["chooser"] == "tc":
        return f"{text}; tokens choose them"
    how = "" if own["schedule"] == STATIC else f" ({own['schedule']}, {own['k_min']} to {own['k_max']} of a token)"
    return f"{text}; they choose tokens{how}"


def _checked_text(about: dict[str, Any]) -> str:
    return f"the authors' code on tiny random weights: {about['checked']}"


def _family_text(about: dict[str, Any]) -> str:
    if not about["decodes"]:
        return f"{about['family']}, whose rules no decoder here follows yet: only its logits are of use"
    if about["layout"] != about["family"]:
        return f"{about['layout']}, decoded by {about['family']}'s rules"
    return about["family"]


def _token(index: int | None, tokenizer: PreTrainedTokenizerFast | None) -> dict[str, Any] | None:
    if index is None:
        return None
    text = tokenizer.convert_ids_to_tokens(index) if tokenizer is not None and index < len(tokenizer) else None
    return {"id": index, "token": text}


def _token_text(token: dict[str, Any] | None) -> str:
    if token is None:
        return "none"
    return f"{token['id']} {token['token'] or '(not in the tokenizer)'}"


def _vocabulary_text(about: dict[str, Any]) -> str:
    columns = f"{about['vocab_size']} logit columns"
    tokenizer = about["tokenizer"]
    if tokenizer is None:
        return f"{columns}; no tokenizer in this checkpoint"
    spare = about["vocab_size"] - tokenizer["vocab_size"]
    fit = f"{spare} spare" if spare >= 0 else f"{-spare} tokens have NO column: this tokenizer is another model's"
    return f"{tokenizer['vocab_size']} tokens ({tokenizer['class']}), {columns} ({fit})"


def _template_text(about: dict[str, Any]) -> str:
    template = about["chat_template"]
    if not template:
        return "no: a base checkpoint, evaluate it without --apply_chat_template"
    text = next(iter(str(template).strip().splitlines()), "nothing but spaces")
    first = text if len(text) <= 80 else f"{text[:77]}..."
    return f"yes: an instruct checkpoint, evaluate it with --apply_chat_template [{first}]"
