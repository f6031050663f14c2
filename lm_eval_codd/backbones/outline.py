"""What a checkpoint's small files say of the backbone that it will be, before any of its weights is read."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeVar, get_args

from lm_eval_codd.backbones.checkpoint import CONFIG_FILES, Checkpoint, CheckpointError, find_checkpoint
from lm_eval_codd.backbones.experts.routing import Routing, choose_routing, experts_of, no_experts_with_blocks
from lm_eval_codd.backbones.layout import ConfigReader, Layout
from lm_eval_codd.backbones.registry import find_layout
from lm_eval_codd.backbones.sizes import refuse_beyond_weights, refuse_impossible_experts
from lm_eval_codd.backbones.token_ids import TokenIds, find_token_ids
from lm_eval_codd.settings import refuse_shared_rows, unknown_value
from lm_eval_codd.terminal.clean_text import last_line, shortened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import transformers

    from lm_eval_codd.settings import RouterSettings

Attention = Literal["full", "block"]
ATTENTIONS: Final[tuple[Attention, ...]] = get_args(Attention)

T = TypeVar("T")

_logger = logging.getLogger("lm_eval.codd")


@dataclass(frozen=True, kw_only=True)
class Outline:
    """Facts of a `Backbone` by their names there, so that what is checked of one can be checked before it is loaded."""

    family: str
    decodes: bool
    is_encoder: bool
    block_length: int | None
    vocab_size: int

    @property
    def attention(self) -> str:
        """See `Backbone`."""
        return "full" if self.block_length is None else "block"


def read_outline(
    path_or_hub_id: str | Path,
    family: str | None = None,
    revision: str | None = None,
    *,
    attention: str | None = None,
    block_length: int | None = None,
) -> Outline:
    """The outline of a checkpoint; arguments as for `load_backbone`.

    Raises:
        CheckpointError: one line: it cannot be found, or fits no layout.
    """
    checkpoint = find_checkpoint(path_or_hub_id, revision, files=CONFIG_FILES)
    layout = find_layout(checkpoint, family)
    config = build_config(checkpoint, layout)
    block_length = choose_blocks(checkpoint, layout, attention, block_length)
    return Outline(
        family=layout.decoding or layout.family,
        decodes=layout.decodes(block_length),
        is_encoder=layout.is_encoder,
        block_length=block_length,
        vocab_size=config.vocab_size,
    )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a `Backbone` is built by, whose files all fit, as far as can be said before a weight is read."""

    checkpoint: Checkpoint
    layout: Layout
    config: transformers.PreTrainedConfig
    own_routing: Routing | None
    token_ids: TokenIds
    block_length: int | None


def plan_backbone(
    path_or_hub_id: str | Path,
    family: str | None = None,
    revision: str | None = None,
    *,
    attention: str | None = None,
    block_length: int | None = None,
    mask_id: int | None = None,
    eos_id: int | None = None,
    eot_id: int | None = None,
) -> Plan:
    """Find all files of a checkpoint and read of the weights' the headers alone; arguments as for `load_backbone`.

    Raises:
        CheckpointError: one line that says what does not fit, such as weights that are pickles, or lack a shard.
    """
    checkpoint = find_checkpoint(path_or_hub_id, revision)
    layout = find_layout(checkpoint, family)
    config, own_routing = build_config(checkpoint, layout), own_routing_of(checkpoint, layout)
    checkpoint.refuse_unusable_weights()
    layout.refuse_foreign_weights(checkpoint)
    refuse_beyond_weights(checkpoint, config)
    return Plan(
        checkpoint=checkpoint,
        layout=layout,
        config=config,
        own_routing=own_routing,
        token_ids=find_token_ids(checkpoint, layout, config.vocab_size, mask_id=mask_id, eos_id=eos_id, eot_id=eot_id),
        block_length=choose_blocks(checkpoint, layout, attention, block_length),
    )


def check_routing(
    path_or_hub_id: str | Path,
    settings: RouterSettings,
    family: str | None = None,
    revision: str | None = None,
    attention: str | None = None,
) -> None:
    """Raise `ValueError`, one line, where a checkpoint has not the experts that settings ask for; reads no weights.

    Args:
        path_or_hub_id: as for `load_backbone`.
        settings: a `DecodingConfig` or `LikelihoodConfig`.
        family: as for `load_backbone`.
        revision: likewise.
        attention: likewise.
    """
    checkpoint = find_checkpoint(path_or_hub_id, revision, files=CONFIG_FILES)
    layout = find_layout(checkpoint, family)
    if settings.router == "tc" and layout.own_routing is None:
        return
    own = own_routing_of(checkpoint, layout)
    experts = experts_of(build_config(checkpoint, layout), layout.expert_gates, own)
    routing = choose_routing(settings, experts, own, checkpoint.source)
    refuse_shared_rows(settings)
    has_no_scope = routing is not None and settings.ec_scope is None
    if has_no_scope and choose_blocks(checkpoint, layout, attention, None) is not None:
        raise CheckpointError(no_experts_with_blocks(checkpoint.source))


def own_router(path_or_hub_id: str | Path, family: str | None = None, revision: str | None = None) -> dict[str, str]:
    """`router=ec` of a checkpoint that was trained with it, as settings; nothing of others, or where none is found.

    Args:
        path_or_hub_id: as for `load_backbone`.
        family: likewise.
        revision: likewise.
    """
    try:
        checkpoint = find_checkpoint(path_or_hub_id, revision, files=CONFIG_FILES)
        own = own_routing_of(checkpoint, find_layout(checkpoint, family))
    except CheckpointError:  # said where it is loaded, after what is wrong with the settings
        return {}
    return {"router": "ec"} if own is not None and own.chooser == "ec" else {}


def build_config(checkpoint: Checkpoint, layout: Layout) -> transformers.PreTrainedConfig:
    """Of the class that computes it. Raises `CheckpointError` for what config.json cannot mean in this layout."""
    config = _read_config(checkpoint, layout, layout.build_config)
    if layout.own_routing is None:
        refuse_impossible_experts(checkpoint, config)
    return config


def own_routing_of(checkpoint: Checkpoint, layout: Layout) -> Routing | None:
    """How its tokens and experts are paired, where that is not the class's way; see `build_config`."""
    return None if layout.own_routing is None else _read_config(checkpoint, layout, layout.own_routing)


def _read_config(checkpoint: Checkpoint, layout: Layout, read: Callable[[ConfigReader], T]) -> T:
    try:
        return read(ConfigReader(checkpoint))
    except CheckpointError:
        raise
    except Exception as error:
        # transformers wraps what it finds wrong with a field in errors of several kinds: the last line says it.
        reason = last_line(error)
        raise CheckpointError(
            f"checkpoint `{checkpoint.source}`: config.json does not fit the {layout.family} layout ({reason}); "
            "fetch the file again, or correct that field"
        ) from None


def choose_blocks(
    checkpoint: Checkpoint, layout: Layout, attention: str | None, block_length: int | None
) -> int | None:
    """The length of the blocks of block-causal attention; None for full attention."""
    if attention not in (None, *ATTENTIONS):
        raise CheckpointError(unknown_value("attention", attention, ATTENTIONS))
    name, usual = layout.block_length or ("", None)
    if attention is None:
        attention = _usual_attention(checkpoint, layout)
    if attention == "full":
        if block_length is not None:
            raise CheckpointError(
                f"`block_length={block_length}` is the length of a block of `attention=block`, and this checkpoint's "
                "attention is full; leave one of them out"
            )
        return None
    if usual is None:
        raise CheckpointError(
            f"`attention=block`: {layout.family} checkpoints have no blocks of their own; leave it out, or give "
            "`logits` an attention_mask [B, 1, L, L] that says what each position sees"
        )
    name, chosen = ("block_length", block_length) if block_length is not None else (name, checkpoint.config.get(name))
    if chosen is None:
        return usual
    if type(chosen) is not int or chosen < 2:
        raise CheckpointError(
            f"`{name}={shortened(chosen)}` must be a whole number of 2 or more: with blocks of one token no position "
            "sees a later one"
        )
    return chosen


def _usual_attention(checkpoint: Checkpoint, layout: Layout) -> Attention:
    if layout.block_length is None:
        return "full"
    named = layout.blocks_if_named
    if named is None:
        return "block"
    attention: Attention = "block" if named in checkpoint.source.lower() else "full"
    there = "is" if attention == "block" else "is not"
    _logger.info(
        "`attention=%s`, since %s %s in the name of `%s`; nothing else tells the two kinds of %s apart, and the wrong "
        "one gives fluent nonsense: say attention= where the name misleads",
        attention,
        named,
        there,
        checkpoint.source,
        layout.family,
    )
    return attention
