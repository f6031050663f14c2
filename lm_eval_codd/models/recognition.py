"""What a checkpoint is, known from its small files before anything else is loaded or decided."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.backbones.checkpoint import CONFIG_FILES, find_checkpoint
from lm_eval_codd.backbones.outline import choose_blocks
from lm_eval_codd.backbones.registry import LAYOUTS, find_layout

_logger = logging.getLogger("lm_eval.codd")

if TYPE_CHECKING:
    from lm_eval_codd.settings import Family

# What cards of checkpoints with a family's rules say for themselves.
_OF_CARDS: Final = ("temperature", "num_steps")


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """A checkpoint that a decoder here can decode.

    Attributes:
        family: by whose rules, and with whose published defaults.
        layout: the family that `load_backbone` and `load_tokenizer` are told; None where its files say it.
        tokenizer_layout: the family whose tokenizers stand in for its own.
        attention: what `load_backbone` is told; None where the family has one kind.
        block_length: of block-causal attention, as the files say; None where attention is full.
        rule: of the block decoder, where it is not the one that the family has by default.
        template_args: arguments of the chat template that the family's evaluation has.
    """

    family: Family
    layout: str | None
    tokenizer_layout: str
    attention: str | None = None
    block_length: int | None = None
    rule: str | None = None
    template_args: Mapping[str, Any] = field(default_factory=dict)


def of_family(family: Family, attention: str | None) -> Recognised:
    """A checkpoint that is to be of a family; whether it is, is said where it is loaded."""
    return Recognised(family=family, layout=family, tokenizer_layout=family, attention=attention)


def recognise(pretrained: str, revision: str | None, family: str | None, attention: str | None) -> Recognised:
    """The family that a checkpoint is decoded as.

    Args:
        pretrained: folder or hub id.
        revision: on the hub.
        family: what the user says that it is, or None.
        attention: what the user says that it has, or None.

    Raises:
        ValueError: one line: it cannot be found or is none of those that a decoder here can decode.
    """
    checkpoint = find_checkpoint(pretrained, revision, files=CONFIG_FILES)
    layout = find_layout(checkpoint, family)
    if layout.decoding is None:
        raise ValueError(
            f"checkpoint `{pretrained}` is {layout.family}, which is decoded by rules of its own, and no decoder here "
            "follows them yet; load_backbone and its `logits` work"
        )
    block_length = choose_blocks(checkpoint, layout, attention, None)
    rule = "bd3lm" if block_length is not None and not layout.is_block_causal else None
    for part, named in layout.rules_if_named.items():
        if part in pretrained.lower():
            rule = named
            _logger.info(
                "`rule=%s`, since %s is in the name of `%s`; nothing else tells these checkpoints apart: say rule= "
                "where the name misleads",
                *(named, part, pretrained),
            )
    if block_length is None and layout.is_block_causal:
        raise ValueError(
            f"`attention=full`: {layout.family} checkpoints are block-causal, and are decoded as such; leave it out"
        )
    return Recognised(
        family=layout.decoding,
        layout=family,
        tokenizer_layout=layout.family,
        attention="full" if block_length is None else "block",
        block_length=block_length,
        rule=rule,
        template_args=layout.template_args,
    )


def unseen_settings(pretrained: str, layout: str, given: Collection[str]) -> Iterator[str]:
    """A line where a checkpoint's own published settings were not seen here, and the user did not give them.

    Args:
        pretrained: folder or hub id.
        layout: its family of files.
        given: names of what the user gave.
    """
    names = {part for one in LAYOUTS if one.family == layout for part in one.unseen_if_named}
    wanted = [name for name in _OF_CARDS if name not in given]
    if wanted and any(part in pretrained.lower() for part in names):
        yield (
            f"`{pretrained}` is decoded with {layout}'s own {' and '.join(wanted)}; those of its card were not seen "
            f"here: give {' and '.join(f'{name}=' for name in wanted)}"
        )
