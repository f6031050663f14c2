"""Qwen3-MoE, trained on to denoise: every position sees the others, and a position's logits are its own, as EC-DLM's.

config.json is that of the autoregressive model, and nothing in the files says whether logits are shifted, so `family=`
has to: `qwen3_moe` for these, `open_dllm` for shifted ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from lm_eval_codd.backbones.families.qwen import qwen3_moe_config
from lm_eval_codd.backbones.layout import Layout
from lm_eval_codd.files.special_tokens import MASK_SPELLINGS

QWEN3_MOE: Final = Layout(
    model_type="qwen3_moe",
    examples="none published",
    family="qwen3_moe",
    decoding="llada",
    architecture="Qwen3MoeForCausalLM",
    build_config=qwen3_moe_config,
    is_plain=True,
    needs_family=True,
    expert_gates="post",
    mask_tokens=MASK_SPELLINGS,
    tokenizer_class="Qwen2Tokenizer",
    unverified="all but the self-test: no such checkpoint is published, and LLaDA's loop is this project's choice",
)

OPEN_DLLM_QWEN3_MOE: Final = replace(
    QWEN3_MOE,
    family="open_dllm",
    decoding="open_dllm",
    scored_by_previous=True,
    unverified="all but the self-test: no such checkpoint is published",
)
