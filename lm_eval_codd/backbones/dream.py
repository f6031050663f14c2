"""Dream's layout (Dream-org/Dream-v0-Base-7B, -Instruct-7B, Dream-Coder, DiffuCoder): Qwen2.5, trained to denoise."""

from __future__ import annotations

from typing import Final

from transformers import Qwen2Config

from lm_eval_codd.backbones.layout import ConfigReader, Layout

_FIXED: Final = {"hidden_act": "silu", "use_sliding_window": False, "use_mrope": False}


def _build_config(config: ConfigReader) -> Qwen2Config:
    config.refuse_unless(_FIXED)
    rope = config.get("rope_parameters")
    if not rope:  # written before transformers 5: rope_theta and, for stretched contexts, rope_scaling
        scaling = config.get("rope_scaling") or {}
        rope_type = scaling.get("rope_type") or scaling.get("type") or "default"
        rope = {"rope_theta": config.need("rope_theta"), **scaling, "rope_type": rope_type}
    return Qwen2Config(
        vocab_size=config.need("vocab_size"),
        hidden_size=config.need("hidden_size"),
        intermediate_size=config.need("intermediate_size"),
        num_hidden_layers=config.need("num_hidden_layers"),
        num_attention_heads=config.need("num_attention_heads"),
        num_key_value_heads=config.need("num_key_value_heads"),
        max_position_embeddings=config.need("max_position_embeddings"),
        rms_norm_eps=config.need("rms_norm_eps"),
        rope_parameters=rope,
        tie_word_embeddings=bool(config.get("tie_word_embeddings")),
        hidden_act="silu",
        use_sliding_window=False,
    )


DREAM: Final = Layout(
    model_type="Dream",
    family="dream",
    architecture="Qwen2ForCausalLM",
    build_config=_build_config,
    key_mapping={},
    float32_rotary=False,
    scored_by_previous=True,
    end_of_turn="<|im_end|>",
    published=(152064, 151645),
    tokenizer_class="Qwen2Tokenizer",
)
