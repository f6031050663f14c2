"""What the Qwen-type layouts share: config.json -> Qwen2's, Qwen3's or Qwen3-MoE's configuration, by its names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from transformers import Qwen2Config, Qwen3Config, Qwen3MoeConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

if TYPE_CHECKING:
    from lm_eval_codd.backbones.layout import ConfigReader

_FIXED: Final = {"hidden_act": "silu", "use_sliding_window": False, "use_mrope": False}
# Ways to stretch the context that rotate by the longest row of a batch, so that rows would depend on each other.
_BY_THE_LONGEST: Final = ("dynamic", "longrope")
# What other mixtures of experts have, and Qwen3-MoE's class does not compute.
_FIXED_EXPERTS: Final = {
    "norm_topk_prob": True,
    "shared_expert_intermediate_size": None,
    "num_shared_experts": 0,
    "moe_router_enable_expert_bias": False,
    "moe_router_score_function": "softmax",
    "score_function": "softmax",
}


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


def qwen3_moe_config(config: ConfigReader) -> Qwen3MoeConfig:
    """Qwen3-MoE: Qwen3 with experts in place of the MLP, whose gates add up to 1 in each token."""
    config.refuse_unless(_FIXED_EXPERTS)
    num_layers, dense = config.need("num_hidden_layers"), config.get("mlp_only_layers") or []
    if not isinstance(dense, list) or not all(type(layer) is int and 0 <= layer < num_layers for layer in dense):
        raise TypeError(f"`mlp_only_layers` must be a list of layers, 0 to {num_layers - 1}")
    return Qwen3MoeConfig(  # type: ignore[call-arg]  # `head_dim` is read from **kwargs
        **_shared(config),
        head_dim=config.need("head_dim"),
        attention_bias=bool(config.get("attention_bias")),
        moe_intermediate_size=config.need("moe_intermediate_size"),
        num_experts=config.need("num_experts"),
        num_experts_per_tok=config.need("num_experts_per_tok"),
        norm_topk_prob=config.need("norm_topk_prob"),  # its absence would mean False to the class
        decoder_sparse_step=config.get("decoder_sparse_step") or 1,
        mlp_only_layers=dense,
    )


def rope_parameters(config: ConfigReader) -> dict[str, Any]:
    """The rotary embedding, as transformers 5 has it, of a file in either spelling."""
    rope = config.get("rope_parameters")
    if not rope:  # written before transformers 5: rope_theta and, for stretched contexts, rope_scaling
        scaling = config.get("rope_scaling") or {}
        rope_type = scaling.get("rope_type") or scaling.get("type") or "default"
        rope = {"rope_theta": config.need("rope_theta"), **scaling, "rope_type": rope_type}
    if rope.get("rope_type") in _BY_THE_LONGEST:
        raise ValueError(
            f"`rope_type={rope['rope_type']}` rotates by the longest row of a batch, so that rows depend on others"
        )
    if rope.get("rope_type", "default") not in ("default", *ROPE_INIT_FUNCTIONS):
        raise ValueError(f"`rope_type={rope['rope_type']}` is not known to transformers")
    return rope


def refuse_other_layers(config: ConfigReader) -> None:
    """Raise `CheckpointError` for layers that see a window only, or rotate a part of each head."""
    full = ["full_attention"] * config.need("num_hidden_layers")
    config.refuse_unless({"layer_types": full, "partial_rotary_factor": 1.0})


def _shared(config: ConfigReader) -> dict[str, Any]:
    config.refuse_unless(_FIXED)
    refuse_other_layers(config)
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
