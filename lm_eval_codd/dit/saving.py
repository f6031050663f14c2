"""A model as a folder that `load_dit` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval_codd.dit.loading import PREFIX
from lm_eval_codd.files.outputs import write_text
from lm_eval_codd.tensors.saving import save_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.dit.config import DiTConfig


def save_dit(folder: Path, fields: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Write config.json and model.safetensors, the weights first: a folder without config.json is no checkpoint.

    Args:
        folder: made when missing.
        fields: of config.json.
        weights: by the names of `Network`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    named = {f"{PREFIX}{name}": weight for name, weight in weights.items()}
    save_tensors(folder / "model.safetensors", named, {"format": "pt"})
    write_text(folder / "config.json", json.dumps(fields, indent=2) + "\n")


def fields_of(config: DiTConfig) -> dict[str, Any]:
    """config.json of a model, from which `read_config` makes the same config."""
    fields = {
        "model_type": "mdlm" if config.algo == "mdlm" else "DUO",
        "algo": config.algo,
        "vocab_size": config.vocab_size,
        "hidden_dim": config.hidden_dim,
        "cond_dim": config.cond_dim,
        "n_blocks": config.n_blocks,
        "n_heads": config.n_heads,
        "model_length": config.model_length,
        "causal": config.causal,
        "time_conditioning": config.time_conditioning,
        "mask_token_id": config.ids.mask,
        "bos_token_id": config.ids.bos,
        "eos_token_id": config.ids.eos,
        "noise": {"type": config.schedule[0], "eps": config.schedule[1]},
        "torch_dtype": "float32",
    }
    return {name: value for name, value in fields.items() if value is not None}
