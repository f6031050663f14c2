"""What a caller of `generate` mixes up, each said in one sentence."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from lm_eval_codd.settings import DecodingConfig


def check_call(backbone: Any, prompts: Any, config: Any, circuit: Any) -> None:
    """Raise `TypeError` for an argument that is not of the kind that decoding takes."""
    for name, value, how in (
        ("backbone", backbone, "load_backbone"),
        ("circuit", circuit, "load_circuit"),
    ):
        if isinstance(value, str | os.PathLike):
            raise TypeError(
                f"`{name}={value}` is a name, and decoding takes what is loaded; give {how}({str(value)!r})"
            )
    if isinstance(config, dict):
        given = ", ".join(f"{name}={value!r}" for name, value in config.items())
        raise TypeError(
            f"`config` is a dict, and decoding takes settings that are checked; give DecodingConfig({given})"
        )
    if not isinstance(config, DecodingConfig):
        raise TypeError(f"`config` is a {type(config).__name__}; give a DecodingConfig")
    if isinstance(prompts, str) or (_is_list(prompts) and any(isinstance(prompt, str) for prompt in prompts)):
        raise TypeError(
            "`prompts` holds text, and decoding takes token ids; give [tokenizer.encode(text)], with the checkpoint's "
            "own tokenizer (lm_eval_codd.backbones.load_tokenizer) and its chat template where it has one"
        )
    if _is_list(prompts) and any(isinstance(prompt, int) for prompt in prompts):
        raise TypeError("`prompts` is one prompt, and decoding takes a list of them; give [prompt]")


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence)
