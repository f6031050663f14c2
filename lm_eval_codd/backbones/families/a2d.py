"""dLLM's A2D layouts: autoregressive Qwen2, Qwen3 and Llama checkpoints, trained on to denoise, with names unchanged.

Two trainings share them: `mdlm` sees every position, `bd3lm` is block-causal, and nothing but the name says which.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from lm_eval_codd.backbones.families.llama import llama_config
from lm_eval_codd.backbones.families.qwen import qwen2_config, qwen3_config
from lm_eval_codd.backbones.layout import Layout

A2D_QWEN3: Final = Layout(
    model_type="a2d-qwen3",
    examples="Qwen3-0.6B-diffusion-mdlm, -bd3lm",
    family="a2d",
    decoding="a2d",
    architecture="Qwen3ForCausalLM",
    build_config=qwen3_config,
    block_length=("block_size", 32),
    blocks_if_named="bd3lm",
    blocks_from_the_end=True,
    mask_tokens=("<|mask|>", "<|MASK|>"),
    mask_is_first_free=True,
    end_of_text="<|endoftext|>",
    end_of_turn="<|im_end|>",
    template_args={"enable_thinking": False},
    tokenizer_class="Qwen2Tokenizer",
    goldens=("logits", "decodes"),
)

A2D_QWEN2: Final = replace(
    A2D_QWEN3,
    model_type="a2d-qwen2",
    examples="Qwen2.5-Coder-0.5B-Instruct-diffusion-mdlm, -bd3lm",
    architecture="Qwen2ForCausalLM",
    build_config=qwen2_config,
)

A2D_LLAMA: Final = replace(
    A2D_QWEN3,
    model_type="a2d-llama",
    examples="Llama trained on by dLLM's code",
    architecture="LlamaForCausalLM",
    build_config=llama_config,
    end_of_text="<|end_of_text|>",
    end_of_turn="<|eot_id|>",
    template_args={},
    tokenizer_class=None,
    unverified="a published checkpoint: none is known here",
)
