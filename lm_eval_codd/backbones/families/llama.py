"""What the layouts with Llama's own field names share: config.json -> Llama's configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from transformers import LlamaConfig

from lm_eval_codd.backbones.families.qwen import refuse_other_layers, rope_parameters

if TYPE_CHECKING:
    from lm_eval_codd.backbones.layout import ConfigReader

_FIXED: Final = {"hidden_act": "silu", "use_sliding_window": False}


def llama_config(config: ConfigReader) -> LlamaConfig:
    """Llama: no norms of queries and keys; biases where the file says so."""
    config.refuse_unless(_FIXED)
    refuse_other_layers(config)
    width, num_heads = config.need("hidden_size"), config.need("num_attention_heads")
    names = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
        "rms_norm_eps",
    )
    return LlamaConfig(
        **{name: config.need(name) for name in names},
        num_key_value_heads=config.get("num_key_value_heads") or num_heads,
        head_dim=config.get("head_dim") or width // num_heads,
        rope_parameters=rope_parameters(config),
        attention_bias=bool(config.get("attention_bias")),
        mlp_bias=bool(config.get("mlp_bias")),
        tie_word_embeddings=bool(config.get("tie_word_embeddings")),
        hidden_act="silu",
    )
