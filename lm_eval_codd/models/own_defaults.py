"""What a checkpoint says of decoding: its length, and defaults above its family's and below what a user types."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.backbones.checkpoint import CONFIG_FILES, CheckpointError, find_checkpoint
from lm_eval_codd.models.gen_kwargs import SETTINGS
from lm_eval_codd.names import check_names

eval_logger = logging.getLogger("lm_eval.codd")

FILE: Final = "generation_config.json"
KEY: Final = "lm_eval_codd"


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
