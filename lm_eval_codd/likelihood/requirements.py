"""What cannot be scored, said before anything is."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lm_eval_codd.backbones.protocols import check_backbone
from lm_eval_codd.settings import LikelihoodConfig, targets_with_mask

if TYPE_CHECKING:
    from lm_eval_codd.backbones.protocols import Backbone

_logger = logging.getLogger("lm_eval.codd")

Pair = tuple[Sequence[int], Sequence[int]]


def check_call(backbone: Any, pairs: Any, config: Any, circuit: Any) -> None:
    """Raise `TypeError` for an argument that is not of the kind that `log_likelihood` takes."""
    for name, value, how in (("backbone", backbone, "load_backbone"), ("circuit", circuit, "load_circuit")):
        if isinstance(value, str | os.PathLike):
            raise TypeError(f"`{name}={value}` is a name; give what is loaded: {how}({str(value)!r})")
    check_backbone(backbone)
    if not isinstance(config, LikelihoodConfig):
        raise TypeError(f"`config` is a {type(config).__name__}; give a LikelihoodConfig")
    for index, pair in enumerate(pairs):
        if isinstance(pair, str | int) or len(pair) != 2 or any(isinstance(part, str | int) for part in pair):
            raise TypeError(f"`pairs[{index}]` is not a pair of lists of token ids; give (prompt, target)")


def check_pairs(backbone: Backbone, pairs: Sequence[Pair], pad_to: int | None = None) -> None:
    """Raise `ValueError` for a pair that the backbone cannot take, or that is longer than what it is padded to."""
    max_length = getattr(backbone, "max_length", None)
    if pad_to is not None and max_length is not None and pad_to > max_length:
        raise ValueError(f"`pad_to={pad_to}` exceeds the model's {max_length} tokens; use {max_length} or less")
    for index, (prompt, target) in enumerate(pairs):
        if not len(target):
            raise ValueError(f"the target of `pairs[{index}]` is empty, and nothing has no likelihood; leave it out")
        length = len(prompt) + len(target)
        if max_length is not None and length > max_length:
            raise ValueError(
                f"`pairs[{index}]`: a target of {len(target)} tokens after a prompt of {len(prompt)} exceeds the "
                f"model's {max_length}; shorten "
                + ("the prompt from its left" if len(target) <= max_length else "the target, or cut it into windows")
            )
        if pad_to is not None and length > pad_to:
            raise ValueError(
                f"`pairs[{index}]` has {length} tokens and is longer than `pad_to={pad_to}`; use a larger pad_to, or "
                f"cut prompts from their left (max_length={pad_to})"
            )
        both = (*prompt, *target)
        if not 0 <= min(both) <= max(both) < backbone.vocab_size:
            raise ValueError(
                f"`pairs[{index}]` holds a token id outside the vocabulary of {backbone.vocab_size} tokens"
            )


def warn_of_masks(backbone: Backbone, targets: Iterable[Sequence[int]]) -> None:
    """Say in the log how many targets hold the mask token; `models` says it by task."""
    if number := sum(backbone.mask_id in target for target in targets):
        _logger.warning("%s", targets_with_mask(number, backbone.mask_id))
