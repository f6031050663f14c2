"""LLaDA-MoE's layout (inclusionAI/LLaDA-MoE-7B-A1B-Base, -Instruct): what Qwen3-MoE computes, under its names."""

from __future__ import annotations

from typing import Final

from transformers import Qwen3MoeConfig

from lm_eval_codd.backbones.layout import ConfigReader, Layout

_FIXED: Final = {
    "hidden_act": "silu",
    "shared_expert_intermediate_size": None,
    "num_shared_experts": 0,
    "moe_router_enable_expert_bias": False,
    "moe_router_score_function": "softmax",
    "clip_qkv": None,
    "partial_rotary_factor": 1.0,
    "qk_layernorm": True,
    "rope_scaling": None,
    "tie_word_embeddings": False,
}
# What the authors' configuration class means where a file does not say.
_USUAL_EPS: Final = 1e-5


def _build_config(config: ConfigReader) -> Qwen3MoeConfig:
    config.refuse_unless(_FIXED)
    width, num_heads, num_layers = (
        config.need(name) for name in ("hidden_size", "num_attention_heads", "num_hidden_layers")
    )
    has_experts = config.get("moe_layer_freq") or [1] * num_layers
    if not isinstance(has_experts, list):
        raise TypeError("`moe_layer_freq` must be a list of 0 and 1, one for each layer")
    return Qwen3MoeConfig(  # type: ignore[call-arg]  # `head_dim` is read from **kwargs
        vocab_size=config.need("vocab_size"),
        hidden_size=width,
        intermediate_size=config.need("dense_intermediate_size"),
        moe_intermediate_size=config.need("expert_intermediate_size"),
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=config.get("num_key_value_heads") or num_heads,
        head_dim=width // num_heads,
        num_experts=config.need("num_experts"),
        num_experts_per_tok=config.need("num_experts_per_tok"),
        norm_topk_prob=False,  # the original never does, whatever the file says
        mlp_only_layers=[layer for layer, has in enumerate(has_experts) if not has],
        decoder_sparse_step=1,
        max_position_embeddings=config.need("max_position_embeddings"),
        rms_norm_eps=config.get("rms_norm_eps") or _USUAL_EPS,
        rope_parameters={"rope_type": "default", "rope_theta": config.need("rope_theta")},
        attention_bias=bool(config.get("attention_bias")),
        tie_word_embeddings=False,
        hidden_act="silu",
        use_sliding_window=False,
    )


LLADA_MOE: Final = Layout(
    model_type="lladamoe",
    examples="LLaDA-MoE-7B-A1B",
    also_marked=("llada", ("num_experts", "moe_layer_freq")),
    family="lladamoe",
    decoding="llada",
    architecture="Qwen3MoeForCausalLM",
    build_config=_build_config,
    expert_gates="pre",
    mask_tokens=("<|mask|>",),
    end_of_turn="<|role_end|>",
    goldens=("logits", "decodes"),
)
