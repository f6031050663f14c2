"""Dream's layout (Dream-org/Dream-v0-Base-7B, -Instruct-7B, Dream-Coder, DiffuCoder): Qwen2.5, trained to denoise."""

from __future__ import annotations

from typing import Final

from lm_eval_codd.backbones.families.qwen import qwen2_config
from lm_eval_codd.backbones.layout import Layout

DREAM: Final = Layout(
    model_type="Dream",
    examples="Dream-7B, Dream-Coder-7B, DiffuCoder-7B",
    family="dream",
    decoding="dream",
    architecture="Qwen2ForCausalLM",
    build_config=qwen2_config,
    foreign_weights={
        ".q_norm.": "it normalises queries and keys, as DreamReasoner does, a Qwen3 under Dream's model_type; how that "
        "one attends and is decoded was not seen here, so it is refused",
    },
    scored_by_previous=True,
    end_of_turn="<|im_end|>",
    published=(152064, 151645),
    tokenizer_class="Qwen2Tokenizer",
    unseen_if_named=("dream-coder", "diffucoder", "dreamon"),
    goldens=("logits", "decodes"),
    unverified="published accuracies; temperature and steps of Dream-Coder's, DiffuCoder's and DreamOn's own cards",
)
