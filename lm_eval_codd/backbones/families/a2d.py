"""dLLM's A2D layouts: autoregressive Qwen2 and Qwen3 checkpoints, trained on to denoise, with names unchanged."""

from __future__ import annotations

from typing import Final

from lm_eval_codd.backbones.families.qwen import qwen2_config, qwen3_config
from lm_eval_codd.backbones.layout import Layout

A2D_QWEN2: Final = Layout(
    model_type="a2d-qwen2",
    family="a2d",
    decoding=None,
    architecture="Qwen2ForCausalLM",
    build_config=qwen2_config,
    mask_token="<|mask|>",
    end_of_turn="<|im_end|>",
)

A2D_QWEN3: Final = Layout(
    model_type="a2d-qwen3",
    family="a2d",
    decoding=None,
    architecture="Qwen3ForCausalLM",
    build_config=qwen3_config,
    mask_token="<|mask|>",
    end_of_turn="<|im_end|>",
)
