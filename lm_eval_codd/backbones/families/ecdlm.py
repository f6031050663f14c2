"""EC-DLM's layout (zhangshuibai/EC-DLM; for checkpoints that users train): Megatron's names, and its routers.

config.json has the training's arguments under Megatron's names. GLM-4-MoE computes attention, norms, experts and the
shared expert; which experts compute which tokens is `own_routing`, not that class's way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import Glm4MoeConfig

from lm_eval_codd.backbones.experts.routing import Routing
from lm_eval_codd.backbones.experts.scaling import expert_choice_factors, token_choice_factor
from lm_eval_codd.backbones.experts.schedules import SCHEDULES
from lm_eval_codd.backbones.layout import ConfigReader, Layout
from lm_eval_codd.settings import unknown_value

if TYPE_CHECKING:
    from torch import Tensor

_FIXED: Final = {
    "attention_mask_type": "no_mask",
    "normalization": "RMSNorm",
    "qk_layernorm": True,
    "apply_layernorm_1p": False,
    "multi_latent_attention": False,
    "add_bias_linear": False,
    "add_qkv_bias": False,
    "swiglu": True,
    "untie_embeddings_and_output_weights": True,
    "position_embedding_type": "rope",
    "rotary_percent": 1.0,
    "rotary_interleaved": False,
    "rope_scaling": None,
    "moe_layer_freq": 1,
    "moe_router_enable_expert_bias": False,
    "moe_router_num_groups": None,
    "moe_expert_capacity_factor": None,
    "moe_router_batch_level": False,
    "moe_apply_probs_on_input": False,
}
_TYPES: Final = {"expert_choice": "ec", "topk": "tc"}
_ACTIVATIONS: Final = {"softmax": "post", "sigmoid": "sigmoid"}
# The authors' own defaults of a schedule.
_LEAST, _SIGMA = 1, 0.2

_NAMES: Final = {
    r"embedding\.word_embeddings\.weight": "model.embed_tokens.weight",
    r"decoder\.final_layernorm\.weight": "model.norm.weight",
    r"output_layer\.weight": "lm_head.weight",
    r"decoder\.layers\.(\d+)\.input_layernorm\.weight": r"model.layers.\1.input_layernorm.weight",
    r"decoder\.layers\.(\d+)\.self_attention\.linear_qkv\.layer_norm_weight": r"model.layers.\1.input_layernorm.weight",
    r"decoder\.layers\.(\d+)\.self_attention\.linear_proj\.weight": r"model.layers.\1.self_attn.o_proj.weight",
    r"decoder\.layers\.(\d+)\.self_attention\.q_layernorm\.weight": r"model.layers.\1.self_attn.q_norm.weight",
    r"decoder\.layers\.(\d+)\.self_attention\.k_layernorm\.weight": r"model.layers.\1.self_attn.k_norm.weight",
    r"decoder\.layers\.(\d+)\.pre_mlp_layernorm\.weight": r"model.layers.\1.post_attention_layernorm.weight",
    r"decoder\.layers\.(\d+)\.mlp\.router\.weight": r"model.layers.\1.mlp.gate.weight",
}
_FUSED: Final = re.compile(r"decoder\.layers\.(\d+)\.self_attention\.linear_qkv\.weight")
# An expert's two matrices, stored one by one or by Transformer Engine's grouped names, and those of the shared one.
_MATRIX: Final = re.compile(
    r"decoder\.layers\.(?P<layer>\d+)\.mlp\.(?P<whose>shared_experts|experts)(\.local_experts\.(?P<expert>\d+))?"
    r"\.linear_fc(?P<number>[12])\.weight(?P<grouped>\d*)"
)


def own_routing(config: ConfigReader) -> Routing:
    """How the checkpoint was trained to pair tokens and experts."""
    chooser = _one_of(config, "moe_router_type", _TYPES, "expert_choice")
    gates = _one_of(config, "moe_router_score_function", _ACTIVATIONS, "softmax")
    num_experts, k = config.need("num_moe_experts"), config.need("moe_router_topk")
    num_shared = _num_shared(config)
    is_pre, is_scaled = bool(config.get("moe_router_pre_softmax")), bool(config.get("enable_scaling_factor"))
    _refuse_beside(config, chooser, k, is_pre=is_pre)
    gates = "pre" if is_pre else gates
    if chooser == "tc":
        activation = {"sigmoid": "sigmoid"}.get(gates, "softmax")
        factor = token_choice_factor(num_experts, k, num_shared, activation=activation, renormalised=not is_pre)
        scale = factor if is_scaled else 1.0
        return Routing(chooser=chooser, num_experts=num_experts, gates=gates, k_min=k, k_max=k, scale=scale)
    scale = float(config.get("moe_router_topk_scaling_factor") or 1.0) if is_pre else 1.0
    factors = expert_choice_factors(num_experts, num_shared) if is_scaled and not is_pre else None
    if not config.get("moe_router_dynamic_topk"):
        return Routing(num_experts=num_experts, gates=gates, k_min=k, k_max=k, scale=scale, factors=factors)
    return Routing(
        num_experts=num_experts,
        gates=gates,
        schedule=_schedule(config.need("moe_router_dynamic_topk_scheduler")),
        k_min=config.get("moe_router_dynamic_topk_min") or _LEAST,
        k_max=config.get("moe_router_dynamic_topk_max") or k,
        sigma=float(config.get("moe_router_dynamic_topk_bell_sigma") or _SIGMA),
        factors=factors,
    )


def _refuse_beside(config: ConfigReader, chooser: str, k: int, *, is_pre: bool) -> None:
    """Refuse what the authors' code does not do, or does otherwise, beside these."""
    config.refuse({"moe_router_load_balancing_type": "sinkhorn"})
    if is_pre and config.get("moe_router_dynamic_topk"):
        raise ValueError("`moe_router_pre_softmax` takes one number of experts, not `moe_router_dynamic_topk`'s")
    if chooser == "tc" and k == 1 and not is_pre:
        raise ValueError("`moe_router_topk=1` of token choice needs `moe_router_pre_softmax`: its gates would all be 1")
    scaling = config.get("moe_router_topk_scaling_factor")
    if scaling is not None and (chooser == "tc" or not is_pre):
        raise ValueError(
            f"`moe_router_topk_scaling_factor={scaling}` is of expert choice with `moe_router_pre_softmax`; nothing is "
            "known of it elsewhere"
        )


def _build_config(config: ConfigReader) -> Glm4MoeConfig:
    config.refuse_unless(_FIXED)
    width, num_heads = config.need("hidden_size"), config.need("num_attention_heads")
    num_groups = config.get("num_query_groups") or num_heads
    if num_heads % num_groups:
        raise ValueError(f"`num_query_groups={num_groups}` must divide `num_attention_heads={num_heads}`")
    return Glm4MoeConfig(  # type: ignore[call-arg]  # `head_dim` is read from **kwargs
        vocab_size=config.need("vocab_size"),
        hidden_size=width,
        intermediate_size=config.need("moe_ffn_hidden_size"),  # of layers without experts; it has none
        moe_intermediate_size=config.need("moe_ffn_hidden_size"),
        num_hidden_layers=config.need("num_layers"),
        num_attention_heads=num_heads,
        num_key_value_heads=num_groups,
        head_dim=config.get("kv_channels") or width // num_heads,
        n_routed_experts=config.need("num_moe_experts"),
        num_experts_per_tok=config.need("moe_router_topk"),
        n_shared_experts=_num_shared(config),
        first_k_dense_replace=0,
        n_group=1,
        topk_group=1,
        norm_topk_prob=True,
        routed_scaling_factor=1.0,
        use_qk_norm=True,
        num_mtp_layers=0,
        attention_bias=False,
        max_position_embeddings=config.need("max_position_embeddings"),
        rms_norm_eps=config.get("norm_epsilon") or 1e-6,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": config.get("rotary_base") or 10000,
            "partial_rotary_factor": 1.0,
        },
        tie_word_embeddings=False,
        hidden_act="silu",
    )


def _convert(tensors: dict[str, Tensor], config: Glm4MoeConfig) -> dict[str, Tensor]:
    """Megatron's tensors under GLM-4-MoE's names; what is not known keeps its name, and is refused by it."""
    converted: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if (fused := _FUSED.fullmatch(name)) and len(tensor) == _num_fused(config) * config.head_dim:
            parts = _of_groups(tensor, config)
            converted |= {f"model.layers.{fused[1]}.self_attn.{kind}_proj.weight": part for kind, part in parts.items()}
        elif (matrix := _MATRIX.fullmatch(name)) and (matrix["whose"] == "shared_experts") == (_expert(matrix) == ""):
            number = _expert(matrix)
            before = f"model.layers.{matrix['layer']}.mlp.{matrix['whose']}{number and f'.{number}'}"
            kinds = ("gate", "up") if matrix["number"] == "1" else ("down",)
            for kind, part in zip(kinds, tensor.chunk(len(kinds)), strict=True):
                converted[f"{before}.{kind}_proj.weight"] = part.contiguous()
        else:
            converted[_renamed(name)] = tensor
    for layer in range(config.num_hidden_layers):
        gate = converted.get(f"model.layers.{layer}.mlp.gate.weight")
        if gate is not None:  # a bias that the class has, and these routers have not
            converted[f"model.layers.{layer}.mlp.gate.e_score_correction_bias"] = torch.zeros(len(gate))
        if not config.n_shared_experts:
            shared, width = f"model.layers.{layer}.mlp.shared_experts", config.hidden_size
            empty = torch.empty(0, width)
            converted |= {f"{shared}.gate_proj.weight": empty, f"{shared}.up_proj.weight": empty.clone()}
            converted[f"{shared}.down_proj.weight"] = torch.empty(width, 0)
    return converted


def _num_fused(config: Glm4MoeConfig) -> int:
    """Heads whose rows are stored as one matrix."""
    return config.num_attention_heads + 2 * config.num_key_value_heads


def _of_groups(fused: Tensor, config: Glm4MoeConfig) -> dict[str, Tensor]:
    """The rows of queries, keys and values, which are stored group by group: its queries, its keys, its values."""
    groups, queries = config.num_key_value_heads, config.num_attention_heads // config.num_key_value_heads
    heads = fused.reshape(groups, queries + 2, config.head_dim, config.hidden_size)
    parts = heads.split((queries, 1, 1), dim=1)
    return {kind: part.reshape(-1, config.hidden_size) for kind, part in zip("qkv", parts, strict=True)}


def _expert(matrix: re.Match[str]) -> str:
    return matrix["expert"] or matrix["grouped"]


def _renamed(name: str) -> str:
    for pattern, there in _NAMES.items():
        if match := re.fullmatch(pattern, name):
            return match.expand(there)
    return name


def _num_shared(config: ConfigReader) -> int:
    """The width of the shared expert, in experts."""
    width, of_one = config.get("moe_shared_expert_intermediate_size") or 0, config.need("moe_ffn_hidden_size")
    if width % of_one:
        raise ValueError(f"`moe_shared_expert_intermediate_size={width}` must be a multiple of {of_one}, an expert's")
    return width // of_one


def _schedule(name: str) -> str:
    if name not in SCHEDULES:
        raise ValueError(unknown_value("moe_router_dynamic_topk_scheduler", name, SCHEDULES))
    return name


def _one_of(config: ConfigReader, name: str, words: dict[str, str], usual: str) -> Any:
    value = config.get(name) or usual
    if value not in words:
        raise ValueError(unknown_value(name, value, words))
    return words[value]


ECDLM: Final = Layout(
    model_type="ecdlm",
    examples="none published",
    family="ecdlm",
    decoding="llada",
    architecture="Glm4MoeForCausalLM",
    build_config=_build_config,
    convert=_convert,
    own_routing=own_routing,
    mask_tokens=("<|mask|>", "[MASK]"),
    goldens=("logits",),
    unverified="no checkpoint is published, nor code that generates: LLaDA's loop is this project's choice",
)
