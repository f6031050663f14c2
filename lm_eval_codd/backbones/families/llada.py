"""LLaDA's layout (GSAI-ML/LLaDA-8B-Base, -Instruct, LLaDA-1.5): an OLMo-style trunk that computes what Llama does."""

from __future__ import annotations

from typing import Final

from transformers import LlamaConfig

from lm_eval_codd.backbones.layout import ConfigReader, Layout

# Options of the original modelling code that Llama has no counterpart for, at the values of every published checkpoint.
_FIXED: Final = {
    "block_type": "llama",
    "activation_type": "silu",
    "layer_norm_type": "rms",
    "bias_for_layer_norm": False,
    "attention_layer_norm": False,
    "input_emb_norm": False,
    "scale_logits": False,
    "alibi": False,
    "rope": True,
    "rope_full_precision": True,
}


def _build_config(config: ConfigReader) -> LlamaConfig:
    config.refuse_unless(_FIXED)
    # Llama has one switch for the biases of all four projections, LLaDA one for q, k, v and another for the rest.
    bias = bool(config.get("include_bias"))
    config.refuse_unless({"include_qkv_bias": bias})
    width, num_heads = config.need("d_model"), config.need("n_heads")
    return LlamaConfig(
        vocab_size=config.get("embedding_size") or config.need("vocab_size"),
        hidden_size=width,
        intermediate_size=config.get("mlp_hidden_size") or config.need("mlp_ratio") * width,
        num_hidden_layers=config.need("n_layers"),
        num_attention_heads=num_heads,
        num_key_value_heads=config.get("n_kv_heads") or (1 if config.get("multi_query_attention") else num_heads),
        max_position_embeddings=config.need("max_sequence_length"),
        rms_norm_eps=config.need("rms_norm_eps"),
        rope_parameters={"rope_type": "default", "rope_theta": config.need("rope_theta")},
        attention_bias=bias,
        mlp_bias=bias,
        tie_word_embeddings=bool(config.get("weight_tying")),
        hidden_act="silu",
    )


LLADA: Final = Layout(
    model_type="llada",
    examples="LLaDA-8B, LLaDA-1.5",
    family="llada",
    decoding="llada",
    architecture="LlamaForCausalLM",
    build_config=_build_config,
    # The blocks' own ff_out is renamed before the top-level one, which is the language-model head.
    key_mapping={
        r"^model\.transformer\.wte\b": "model.embed_tokens",
        r"^model\.transformer\.blocks\.(\d+)\.attn_norm\b": r"model.layers.\1.input_layernorm",
        r"^model\.transformer\.blocks\.(\d+)\.q_proj\b": r"model.layers.\1.self_attn.q_proj",
        r"^model\.transformer\.blocks\.(\d+)\.k_proj\b": r"model.layers.\1.self_attn.k_proj",
        r"^model\.transformer\.blocks\.(\d+)\.v_proj\b": r"model.layers.\1.self_attn.v_proj",
        r"^model\.transformer\.blocks\.(\d+)\.attn_out\b": r"model.layers.\1.self_attn.o_proj",
        r"^model\.transformer\.blocks\.(\d+)\.ff_norm\b": r"model.layers.\1.post_attention_layernorm",
        r"^model\.transformer\.blocks\.(\d+)\.ff_proj\b": r"model.layers.\1.mlp.gate_proj",
        r"^model\.transformer\.blocks\.(\d+)\.up_proj\b": r"model.layers.\1.mlp.up_proj",
        r"^model\.transformer\.blocks\.(\d+)\.ff_out\b": r"model.layers.\1.mlp.down_proj",
        r"^model\.transformer\.ln_f\b": "model.norm",
        r"^model\.transformer\.ff_out\b": "lm_head",
    },
    float32_rotary=True,
    end_of_turn="<|eot_id|>",
    published=(126464, 126348),
    goldens=("logits", "decodes"),
)
