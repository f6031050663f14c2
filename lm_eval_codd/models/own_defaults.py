"""What a checkpoint says of decoding: its length, and defaults above its family's and below what a user types."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.backbones import own_router
from lm_eval_codd.backbones.checkpoint import CONFIG_FILES, CheckpointError, find_checkpoint
from lm_eval_codd.models.gen_kwargs import SETTINGS
from lm_eval_codd.names import check_names

if TYPE_CHECKING:
    from lm_eval_codd.models.recognition import Recognised

eval_logger = logging.getLogger("lm_eval.codd")

FILE: Final = "generation_config.json"
KEY: Final = "lm_eval_codd"


def defaults_of(
    pretrained: str, revision: str | None, recognised: Recognised, *, own: bool
) -> tuple[dict[str, Any], int | None]:
    """What stands between a family's defaults and what a user types, and `max_length` as `read_own_defaults` has it.

    Args:
        pretrained: folder or hub id of the checkpoint.
        revision: on the hub.
        recognised: what it is; its blocks and its rule are defaults too.
        own: whether what it was trained with, and what its generation_config.json says, count.

    Raises:
        ValueError: as `read_own_defaults`.
    """
    said, max_length = read_own_defaults(pretrained, revision)
    defaults: dict[str, Any] = {}
    if recognised.rule is not None:
        defaults |= {"decoder": "block_diffusion", "rule": recognised.rule}
    if recognised.block_length is not None:
        defaults["block_length"] = recognised.block_length
    if own:
        defaults |= {**own_router(pretrained, recognised.layout, revision), **said}
    return defaults, max_length


def read_own_defaults(pretrained: str | Path, revision: str | None = None) -> tuple[dict[str, Any], int | None]:
    """Fields of `DecodingConfig` under `lm_eval_codd` in the checkpoint's generation_config.json, and its max_length.

    Nothing else of that file is read: it is written for autoregressive sampling. A checkpoint that cannot be found has
    neither: that is said where it is loaded, after what is wrong with the settings.

    Returns:
        The defaults, mostly none, and how many tokens prompt and answer may have together, where config.json says so.

    Raises:
        ValueError: the key holds something else; one line.
    """
    try:
        checkpoint = find_checkpoint(pretrained, revision, files=CONFIG_FILES)
        max_length = checkpoint.max_length
    except CheckpointError:
        return {}, None
    defaults = checkpoint.read_json(FILE).get(KEY, {})
    where = f"checkpoint `{checkpoint.source}`: `{KEY}` in {FILE}"
    if not isinstance(defaults, dict):
        raise ValueError(f'{where} must be an object of settings, such as {{"gen_length": 256}}')
    try:
        check_names(defaults, SETTINGS, kind="setting")
    except ValueError as error:
        raise ValueError(f"{where} has an {error}") from None
    if defaults:
        said = ", ".join(f"{name}={value}" for name, value in defaults.items())
        eval_logger.info("Defaults that `%s` brings along: %s", pretrained, said)
    return defaults, max_length
