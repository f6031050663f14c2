"""SDAR's layout (JetLM/SDAR-1.7B-Chat, -4B-, -8B-): Qwen3 under its own names, block-causal."""

from __future__ import annotations

from typing import Final

from lm_eval_codd.backbones.families.qwen import qwen3_config
from lm_eval_codd.backbones.layout import Layout

SDAR: Final = Layout(
    model_type="sdar",
    family="sdar",
    decoding="sdar",
    architecture="Qwen3ForCausalLM",
    build_config=qwen3_config,
    block_length=("block_size", 4),
    mask_tokens=("<|MASK|>",),
    end_of_turn="<|im_end|>",
    goldens=("logits", "decodes"),
    unverified="published accuracies; SDAR-MoE, whose files were not seen, is not read",
)
