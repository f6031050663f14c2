"""What the Qwen-type layouts share: config.json -> Qwen2's or Qwen3's configuration, whose field names it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from transformers import Qwen2Config, Qwen3Config

if TYPE_CHECKING:
    from lm_eval_codd.backbones.layout import ConfigReader

_FIXED: Final = {"hidden_act": "silu", "use_sliding_window": False, "use_mrope": False}


def qwen2_config(config: ConfigReader) -> Qwen2Config:
    """Qwen2: biases on q, k and v."""
    return Qwen2Config(**_shared(config))


def qwen3_config(config: ConfigReader) -> Qwen3Config:
    """Qwen3: norms of queries and keys, heads of a width of their own."""
    return Qwen3Config(
        **_shared(config),
        head_dim=config.need("head_dim"),
        attention_bias=bool(config.get("attention_bias")),
    )


def rope_parameters(config: ConfigReader) -> dict[str, Any]:
    """The rotary embedding, as transformers 5 has it, of a file in either spelling."""
    rope = config.get("rope_parameters")
    if not rope:  # written before transformers 5: rope_theta and, for stretched contexts, rope_scaling
        scaling = config.get("rope_scaling") or {}
        rope_type = scaling.get("rope_type") or scaling.get("type") or "default"
        rope = {"rope_theta": config.need("rope_theta"), **scaling, "rope_type": rope_type}
    return rope


def _shared(config: ConfigReader) -> dict[str, Any]:
    config.refuse_unless(_FIXED)
    names = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "max_position_embeddings",
        "rms_norm_eps",
    )
    return {
        **{name: config.need(name) for name in names},
        "rope_parameters": rope_parameters(config),
        "tie_word_embeddings": bool(config.get("tie_word_embeddings")),
        "hidden_act": "silu",
        "use_sliding_window": False,
    }
