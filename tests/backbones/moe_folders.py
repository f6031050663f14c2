"""Tiny random checkpoints of mixtures of experts that no golden is held of."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

QWEN3_MOE = {
    "vocab_size": 113,
    "hidden_size": 32,
    "intermediate_size": 48,
    "moe_intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "norm_topk_prob": True,
    "mlp_only_layers": [1],
    "max_position_embeddings": 256,
    "rope_theta": 1e6,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
IDS = {"mask_token_id": 111, "eos_token_id": 5}


def qwen3_moe_model(**fields: Any) -> Qwen3MoeForCausalLM:
    """Transformers' own, of random weights, two-way."""
    torch.manual_seed(0)
    config = {**QWEN3_MOE, **fields}
    rope = {"rope_type": "default", "rope_theta": config.pop("rope_theta")}
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**config, rope_parameters=rope)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape) * 0.2 + (1 if weight.ndim == 1 else 0))
    model.config.is_causal = False
    return model


def qwen3_moe_folder(folder: Path, model_type: str, **fields: Any) -> Path:
    """That model as a checkpoint of a type whose config.json has Qwen3-MoE's fields."""
    sizes = {name: value for name, value in fields.items() if name in QWEN3_MOE and value is not None}
    qwen3_moe_model(**sizes).save_pretrained(folder)
    config = {**QWEN3_MOE, **IDS, "model_type": model_type, **fields}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def merged_llada2_folder(golden: Path, folder: Path) -> Path:
    """A golden LLaDA2 with the experts of each layer put together."""
    shutil.copytree(golden, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "llada2_moe_veomni"}))
    merged: dict[str, Any] = {}
    for name, tensor in sorted(load_file(golden / "model.safetensors").items(), key=lambda one: _number(one[0])):
        one = re.fullmatch(r"(.+\.mlp\.experts)\.\d+\.(\w+)\.weight", name)
        if one is None:
            merged[name] = tensor
        else:
            merged.setdefault(f"{one[1]}.{one[2]}", []).append(tensor)
    stacked = {name: torch.stack(tensor) if isinstance(tensor, list) else tensor for name, tensor in merged.items()}
    save_file(stacked, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _number(name: str) -> int:
    found = re.search(r"\.experts\.(\d+)\.", name)
    return int(found[1]) if found else -1
