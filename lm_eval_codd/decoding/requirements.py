"""What cannot be decoded, said before anything is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lm_eval_codd.decoding.canvas import Drafts, Ids
from lm_eval_codd.decoding.coupling import check_vocabulary
from lm_eval_codd.settings import DECODERS, either, refuse_attention, refuse_shared_rows

_logger = logging.getLogger("lm_eval.codd")

if TYPE_CHECKING:
    from lm_eval_codd.backbones.outline import Outline
    from lm_eval_codd.decoding.decoders import Decoder
    from lm_eval_codd.decoding.protocols import Backbone, Circuit
    from lm_eval_codd.settings import DecodingConfig


def resolve_ids(backbone: Backbone, config: DecodingConfig) -> Ids:
    """The mask and the ends, from the settings or the backbone. Raises `ValueError` for ids that cannot be."""

    def pick(name: str) -> int | None:
        given = getattr(config, name)
        value: int | None = getattr(backbone, name) if given is None else given
        if value is not None and not 0 <= value < backbone.vocab_size:
            raise ValueError(f"`{name}={value}` is outside the vocabulary of {backbone.vocab_size} tokens")
        return value

    mask, eos, eot = pick("mask_id"), pick("eos_id"), pick("eot_id")
    if mask is None or eos is None:
        name = "mask_id" if mask is None else "eos_id"
        raise ValueError(f"the checkpoint does not say its `{name}`; give `{name}=`")
    for name, value in (("eos_id", eos), ("eot_id", eot)):
        if value == mask:
            raise ValueError(f"`{name}={value}` is the mask token too, so every answer would be over; give another id")
    return Ids(mask, (eos,) if eot is None or eot == eos else (eos, eot))


def check_rows(num_prompts: int, repeats: Sequence[int] | None, batch_size: int | None) -> None:
    """Raise `ValueError` for repeats of another number than prompts, or for a batch of nothing."""
    if repeats is not None and len(repeats) != num_prompts:
        raise ValueError(f"`repeats` has {len(repeats)} numbers for {num_prompts} prompts; give one a prompt, or None")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"`batch_size={batch_size}` must be at least 1, or None for all prompts at once")


def check_padding(
    prompts: Sequence[Sequence[int]], config: DecodingConfig, drafts: Drafts | None, batch_size: int | None
) -> None:
    """Raise `ValueError` where the padded width would change answers."""
    answers: Sequence[Sequence[int]] = [()] * len(prompts) if drafts is None else drafts.tokens
    shapes = {(len(prompt), len(answer)) for prompt, answer in zip(prompts, answers, strict=True)}
    # Rows of the block decoder are at blocks of their own, whatever their lengths.
    if len(shapes) > 1 or (config.decoder == "block_diffusion" and len(prompts) > 1):
        refuse_shared_rows(config, batch_size)


def check_backbone(backbone: Backbone | Outline, config: DecodingConfig) -> None:
    """Raise `ValueError` where settings ask for what such a backbone cannot do; what does not say its own is trusted.

    Args:
        backbone: that is to be decoded, or what is known of it before its weights are read.
        config: of the decode.
    """
    if not getattr(backbone, "decodes", True):
        raise ValueError(
            f"`{backbone.family}` checkpoints are decoded by rules of their own, which no decoder here follows with "
            "this attention; `backbone.logits` works"
        )
    refuse_attention(
        config,
        backbone.family,
        attention=getattr(backbone, "attention", None),
        is_encoder=getattr(backbone, "is_encoder", False),
    )
    config.check_family(backbone.family)


def check_room(
    backbone: Backbone,
    prompts: Sequence[Sequence[int]],
    config: DecodingConfig,
    circuit: Circuit | None,
    drafts: Drafts | None,
) -> None:
    """Raise `ValueError` for prompts, drafts or a circuit that the backbone cannot take."""
    check_backbone(backbone, config)
    _warn_of_blocks(backbone, config)
    max_length = getattr(backbone, "max_length", None)
    longest = max(map(len, prompts))
    if drafts is not None:
        _check_vocabulary("drafts", drafts.tokens, backbone.vocab_size)
        most = max(len(prompt) + len(draft) for prompt, draft in zip(prompts, drafts.tokens, strict=True))
        if max_length is not None and most > max_length:
            raise ValueError(f"a prompt and its draft have {most} tokens and exceed the model's {max_length}")
    elif max_length is not None and longest + config.gen_length > max_length:
        raise ValueError(
            f"`gen_length={config.gen_length}` after a prompt of {longest} tokens exceeds the model's {max_length}; "
            f"shorten the prompt to {max_length - config.gen_length} tokens or lower `gen_length`"
        )
    _check_vocabulary("prompts", prompts, backbone.vocab_size)
    if circuit is not None:
        check_vocabulary(backbone, circuit)


def _warn_of_blocks(backbone: Backbone, config: DecodingConfig) -> None:
    trained = getattr(backbone, "block_length", None)
    if trained not in (None, config.block_length):
        _logger.warning(
            "`block_length=%d` is decoded with, and the checkpoint's own blocks are of %s: not what it was trained on",
            config.block_length,
            trained,
        )


def no_likelihoods(family: str) -> str:
    """One line: log-likelihoods of block-causal checkpoints of a family are not estimated."""
    return (
        f"log-likelihoods of {family} checkpoints, which are block-causal, are not defined by their authors, and the "
        "estimators here are for full attention; ask for tasks that generate"
    )


def check_takes_planner(config: DecodingConfig) -> None:
    """Raise `ValueError` where the decoder does not take a planner."""
    if not DECODERS[config.decoder].takes_planner:
        readers = either(f"decoder={name}" for name, facts in DECODERS.items() if facts.takes_planner)
        raise ValueError(f"`planner` is read by {readers}, not by `decoder={config.decoder}`; leave out one of them")


def check_planner(backbone: Backbone | Outline, planner: Backbone | Outline | None, config: DecodingConfig) -> None:
    """Raise `ValueError` for a planner that the decoder does not take, or of another vocabulary."""
    if planner is None:
        return
    check_takes_planner(config)
    if planner.vocab_size != backbone.vocab_size:
        raise ValueError(
            f"the planner's vocabulary of {planner.vocab_size} tokens is not the backbone's of {backbone.vocab_size}; "
            "use a model with the backbone's own tokenizer"
        )


def check_drafts(
    drafts: Sequence[Sequence[int]] | None, fixed: Sequence[Sequence[bool]] | None, num_prompts: int
) -> Drafts | None:
    """Drafts and what is fixed in them, as one. Raises `ValueError` where they do not fit the prompts or each other."""
    if drafts is None:
        if fixed is not None:
            raise ValueError("`fixed` says which positions of `drafts` never change; give `drafts` too")
        return None
    if len(drafts) != num_prompts:
        raise ValueError(f"`drafts` has {len(drafts)} lists for {num_prompts} prompts; give one a prompt")
    if fixed is not None and [len(row) for row in fixed] != [len(row) for row in drafts]:
        raise ValueError("`fixed` needs a bool for each token of each draft; give lists as long as those of `drafts`")
    return Drafts(drafts, fixed)


def check_decoder(decoder: Decoder, config: DecodingConfig, drafts: Drafts | None) -> None:
    """Raise `ValueError` where a decoder that revises is asked for a cache, or another one for drafts."""
    if decoder.revises and config.cache != "none":
        raise ValueError(
            f"`cache={config.cache}` would keep what `decoder={config.decoder}` takes back; leave it out (none)"
        )
    if drafts is not None and not decoder.revises:
        raise ValueError(
            f"`drafts` are for decoders that revise, and `decoder={config.decoder}` keeps what it has; leave them out"
        )


def check_keeps_rounds(decoder: Decoder, config: DecodingConfig) -> None:
    """Raise `ValueError` where the decoder does not say what it had before it masked again."""
    if not getattr(decoder, "keeps_rounds", False):
        raise ValueError(
            f"`keep_rounds` is for `decoder=corrective`, and `decoder={config.decoder}` keeps no rounds; leave it out"
        )


def _check_vocabulary(name: str, rows: Sequence[Sequence[int]], vocab_size: int) -> None:
    for number, row in enumerate(rows):
        if len(row) and not 0 <= min(row) <= max(row) < vocab_size:
            position = next(index for index, token in enumerate(row) if not 0 <= token < vocab_size)
            raise ValueError(
                f"`{name}[{number}][{position}]={int(row[position])}` is outside the vocabulary of {vocab_size} tokens "
                f"(0 to {vocab_size - 1}); is it of the checkpoint's own tokenizer?"
            )
