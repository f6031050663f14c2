"""SDAR's layouts (JetLM/SDAR-1.7B-Chat, -4B-, -8B-, -30B-A3B-): Qwen3 and Qwen3-MoE by their names, block-causal."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from lm_eval_codd.backbones.families.qwen import qwen3_config, qwen3_moe_config
from lm_eval_codd.backbones.layout import Layout

SDAR: Final = Layout(
    model_type="sdar",
    examples="SDAR-1.7B-Chat, -4B-, -8B-",
    family="sdar",
    decoding="sdar",
    architecture="Qwen3ForCausalLM",
    build_config=qwen3_config,
    block_length=("block_size", 4),
    mask_tokens=("<|MASK|>",),
    end_of_turn="<|im_end|>",
    goldens=("logits", "decodes"),
    unverified="published accuracies",
)

SDAR_MOE: Final = replace(
    SDAR,
    model_type="sdar_moe",
    examples="SDAR-30B-A3B-Chat",
    architecture="Qwen3MoeForCausalLM",
    build_config=qwen3_moe_config,
    expert_gates="post",
    goldens=(),
    unverified="all but the self-test: its authors' files were not seen, and are taken to have Qwen3-MoE's fields",
)
