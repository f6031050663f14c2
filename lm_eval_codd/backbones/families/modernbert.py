"""ModernBERT's layout (dLLM's ModernBERT-base-chat, -large-chat): an encoder of transformers, under its own names.

An ordinary ModernBERT has the same files, and is a masked language model too; that one was trained to answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from transformers import ModernBertConfig

from lm_eval_codd.backbones.layout import Layout

if TYPE_CHECKING:
    from lm_eval_codd.backbones.layout import ConfigReader

_FIXED: Final = {
    "architectures": ["ModernBertForMaskedLM"],
    "hidden_activation": "gelu",
    "classifier_activation": "gelu",
    "rope_scaling": None,
}
_NEEDED: Final = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)
# Left out, they are as the class has them. `layer_types` and `rope_parameters` are of files that transformers 5 wrote.
_OTHERS: Final = (
    *("norm_eps", "norm_bias", "attention_bias", "mlp_bias", "decoder_bias", "classifier_bias", "tie_word_embeddings"),
    *("local_attention", "global_attn_every_n_layers", "global_rope_theta", "local_rope_theta"),
    *("layer_types", "rope_parameters"),
)


def _build_config(config: ConfigReader) -> ModernBertConfig:
    config.refuse_unless(_FIXED)
    given: dict[str, Any] = {name: value for name in _OTHERS if (value := config.get(name)) is not None}
    # Ids are read elsewhere, and may lie outside of a smaller vocabulary here.
    ids: dict[str, Any] = dict.fromkeys(
        ("pad_token_id", "eos_token_id", "bos_token_id", "cls_token_id", "sep_token_id")
    )
    return ModernBertConfig(**{name: config.need(name) for name in _NEEDED}, **given, **ids)


MODERNBERT: Final = Layout(
    model_type="modernbert",
    examples="ModernBERT-base-chat, -large-chat",
    family="modernbert",
    decoding="a2d",
    architecture="ModernBertForMaskedLM",
    build_config=_build_config,
    is_encoder=True,
    mask_tokens=("[MASK]",),
    end_of_turn="[/Answer]",
    goldens=("decodes",),
    unverified="published accuracies; whether it was trained to answer: an ordinary ModernBERT looks the same",
)
