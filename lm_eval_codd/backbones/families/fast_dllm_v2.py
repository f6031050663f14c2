"""Fast-dLLM v2's layout (Efficient-Large-Model/Fast_dLLM_v2_1.5B, _7B): Qwen2.5, block-causal, shifted like Dream."""

from __future__ import annotations

from typing import Final

from lm_eval_codd.backbones.families.qwen import qwen2_config
from lm_eval_codd.backbones.layout import Layout

FAST_DLLM_V2: Final = Layout(
    model_type="Fast_dLLM_Qwen",
    examples="Fast_dLLM_v2_1.5B, _7B",
    family="fast_dllm_v2",
    decoding="fast_dllm_v2",
    architecture="Qwen2ForCausalLM",
    build_config=qwen2_config,
    scored_by_previous=True,
    block_length=("bd_size", 32),
    mask_tokens=("|<MASK>|",),  # spelled so in the published tokenizer
    end_of_turn="<|im_end|>",
    goldens=("logits", "decodes"),
    unverified="published accuracies",
)
