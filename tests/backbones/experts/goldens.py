"""Goldens of EC-DLM as checkpoint folders in their official layouts."""

import json
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

GOLDENS = Path(__file__).parents[2] / "golden" / "experts"


def weights_of(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def write_folder(folder: Path, config: dict, weights: dict[str, Tensor]) -> Path:
    """A checkpoint of these weights; its folder."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    return folder


def retrofit() -> dict[str, Tensor]:
    """Published layouts, whose tokens experts choose."""
    return load_file(GOLDENS / "ec_retrofit.safetensors")


def retrofit_folder(folder: Path, name: str) -> Path:
    """`lladamoe` or `llada2`, tiny."""
    facts = json.loads((GOLDENS / "ec_retrofit.json").read_text())
    more = {
        "lladamoe": {"model_type": "lladamoe"},
        "llada2": {"model_type": "llada2_moe", "eos_token_id": 1},
    }[name]
    return write_folder(folder, {**facts[f"{name}_cfg"], **more}, weights_of(retrofit(), f"{name}.w."))


MODEL = json.loads((GOLDENS / "ec_model.json").read_text())


def megatron_config(case: dict, **more: object) -> dict:
    """The arguments of a golden's training."""
    return {
        "model_type": "ecdlm",
        "vocab_size": MODEL["vocab"],
        "hidden_size": MODEL["hidden"],
        "num_layers": MODEL["layers"],
        "num_attention_heads": MODEL["heads"],
        "moe_ffn_hidden_size": MODEL["ffn"],
        "num_moe_experts": MODEL["E"],
        "max_position_embeddings": 256,
        "norm_epsilon": MODEL["norm_eps"],
        "rotary_base": MODEL["rotary_base"],
        "moe_router_type": case["router"],
        "enable_scaling_factor": case["enable_scaling_factor"],
        "mask_token_id": MODEL["mask"],
        "eos_token_id": MODEL["eod"],
        **{name: value for name, value in case["cfg"].items() if name != "moe_router_load_balancing_type"},
        **more,
    }


def model_goldens(goldens: Path = GOLDENS) -> dict[str, Tensor]:
    """Models in Megatron's layout, and what they say."""
    return load_file(goldens / "ec_model.safetensors")


def megatron_folder(folder: Path, name: str, goldens: Path = GOLDENS, **more: object) -> Path:
    """A golden model's checkpoint, with config fields changed."""
    cases = json.loads((goldens / "ec_model.json").read_text())["cases"]
    (case,) = (case for case in cases if case["name"] == name)
    return write_folder(folder, megatron_config(case, **more), weights_of(model_goldens(goldens), f"{name}.w."))
