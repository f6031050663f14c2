"""The backbone that a decode's or log-likelihoods' settings ask for: its own, or with experts that choose tokens."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.settings import refuse_shared_rows

if TYPE_CHECKING:
    from lm_eval_codd.backbones.protocols import Backbone
    from lm_eval_codd.settings import RouterSettings

ALL_MASKS: Final = (
    "`router=ec`: rows of nothing but masks (an empty prompt, or the half of guidance without its prompt) are alike at "
    "every position, so that rounding alone says which of them an expert takes; their answers differ between machines "
    "and batches"
)

_logger = logging.getLogger("lm_eval.codd")


def routed(backbone: Backbone, settings: RouterSettings, mask_id: int) -> Backbone:
    """The backbone with the settings' router, sharing its weights; itself with `router=tc`.

    Args:
        backbone: the diffusion language model.
        settings: a `DecodingConfig` or `LikelihoodConfig`.
        mask_id: of the token by whose share a schedule goes.

    Raises:
        ValueError: one line: it has no experts, or not those, or its rows leak from block to block, or into others.
    """
    refuse_shared_rows(settings)
    # A wrapper that hands on what it does not have itself would be left out of its own decode.
    route: Any = getattr(backbone, "routed_by", None) if hasattr(type(backbone), "routed_by") else None
    if route is None and settings.router == "tc":
        return backbone
    if route is None:
        raise ValueError(
            f"`router=ec` needs a backbone of load_backbone with experts, and {type(backbone).__name__} has none; "
            "leave it out"
        )
    return route(settings, mask_id)


def warn_of_all_masks(settings: RouterSettings, *, has_empty_prompt: bool, cfg_scale: float) -> None:
    """Say in the log where experts have to choose among positions that are all alike."""
    if settings.router == "ec" and (has_empty_prompt or cfg_scale):
        _logger.warning("%s", ALL_MASKS)
