"""LLaDA2's layout (inclusionAI/LLaDA2.0-mini, -flash, LLaDA2.1-mini, -flash): GLM-4-MoE's computation, block-causal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from transformers import Glm4MoeConfig

from lm_eval_codd.backbones.layout import ConfigReader, Layout

if TYPE_CHECKING:
    from torch import Tensor

# Options of the original modelling code that GLM-4-MoE has no counterpart for, or where the two differ.
_FIXED: Final = {
    "hidden_act": "silu",
    "use_bias": False,
    "use_qk_norm": True,
    "score_function": "sigmoid",
    "norm_topk_prob": True,
    "moe_router_enable_expert_bias": True,
    "norm_head": False,
    "rope_scaling": None,
    "use_sliding_window": False,
    # The authors' eager attention reads its mask the other way round: another model, which nobody means.
    "attn_implementation": "sdpa",
    "_attn_implementation": "sdpa",
}
# What the authors' configuration class means where a file does not say.
_USUAL: Final = {
    "n_group": 8,
    "topk_group": 4,
    "routed_scaling_factor": 2.5,
    "first_k_dense_replace": 0,
    "rms_norm_eps": 1e-5,
}
_USUAL_ROTARY: Final = 0.5
_FUSED: Final = re.compile(r"(?P<before>.+)\.attention\.query_key_value\.(?P<kind>weight|bias)")


def _build_config(config: ConfigReader) -> Glm4MoeConfig:
    config.refuse_unless(_FIXED)
    config.refuse({"num_experts_per_tok": 1, "num_shared_experts": 0})
    num_heads, rope = config.need("num_attention_heads"), config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        raise ValueError(f"`rope_type={rope['rope_type']}` of `rope_parameters` must be default")
    names = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "moe_intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "num_experts_per_tok",
        "n_group",
        "topk_group",
        "routed_scaling_factor",
        "first_k_dense_replace",
        "max_position_embeddings",
        "rms_norm_eps",
    )
    return Glm4MoeConfig(  # type: ignore[call-arg]  # `head_dim` is read from **kwargs
        **{name: config.need(name) if name not in _USUAL else _given(config, name) for name in names},
        head_dim=config.get("head_dim") or config.need("hidden_size") // num_heads,
        n_routed_experts=config.need("num_experts"),
        n_shared_experts=config.need("num_shared_experts"),
        norm_topk_prob=True,
        use_qk_norm=True,
        num_mtp_layers=0,
        attention_bias=bool(config.get("use_qkv_bias")),
        rope_parameters={
            "rope_type": "default",
            "rope_theta": rope.get("rope_theta") or config.need("rope_theta"),
            "partial_rotary_factor": (
                rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or _USUAL_ROTARY
            ),
        },
        tie_word_embeddings=bool(config.get("tie_word_embeddings")),
        hidden_act="silu",
    )


def _given(config: ConfigReader, name: str) -> Any:
    value = config.get(name)
    return _USUAL[name] if value is None else value


def split_attention(tensors: dict[str, Tensor], config: Glm4MoeConfig) -> dict[str, Tensor]:
    """Queries, keys and values are stored as the rows of one matrix, one after the other."""
    num_rows = [
        heads * config.head_dim
        for heads in (config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads)
    ]
    split = {}
    for name, tensor in tensors.items():
        match = _FUSED.fullmatch(name)
        if match is None or len(tensor) != sum(num_rows):
            split[name] = tensor
            continue
        for letter, part in zip("qkv", tensor.split(num_rows), strict=True):
            split[f"{match['before']}.self_attn.{letter}_proj.{match['kind']}"] = part
    return split


LLADA2: Final = Layout(
    model_type="llada2_moe",
    examples="LLaDA2.0-mini, LLaDA2.1-mini, -flash",
    family="llada2",
    decoding="llada2",
    architecture="Glm4MoeForCausalLM",
    build_config=_build_config,
    convert=split_attention,
    key_mapping={
        r"^model\.word_embeddings\b": "model.embed_tokens",
        r"^model\.layers\.(\d+)\.attention\.dense\b": r"model.layers.\1.self_attn.o_proj",
        r"^model\.layers\.(\d+)\.attention\.query_layernorm\b": r"model.layers.\1.self_attn.q_norm",
        r"^model\.layers\.(\d+)\.attention\.key_layernorm\b": r"model.layers.\1.self_attn.k_norm",
        r"^model\.layers\.(\d+)\.mlp\.gate\.expert_bias\b": r"model.layers.\1.mlp.gate.e_score_correction_bias",
    },
    block_length=("block_length", 32),
    rules_if_named={"llada2.1": "llada21"},
    expert_gates="sigmoid",
    mask_tokens=("<|mask|>",),
    end_of_turn="<|role_end|>",
    goldens=("logits", "decodes"),
    unverified="published accuracies; the files of 2.0 and 2.1 are alike, only a name tells (rule=llada21)",
)
