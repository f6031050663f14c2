"""Open-dLLM's layouts (fredzzp/open-dcoder-0.5B, the Code Revision models, REPR-ALIGN): Qwen2 and Qwen3, shifted.

config.json is that of the autoregressive model, so a mask token in the tokenizer's files is what tells them apart.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from lm_eval_codd.backbones.families.qwen import qwen2_config, qwen3_config
from lm_eval_codd.backbones.layout import Layout
from lm_eval_codd.files.special_tokens import MASK_SPELLINGS

OPEN_DLLM_QWEN2: Final = Layout(
    model_type="qwen2",
    examples="open-dcoder-0.5B",
    family="open_dllm",
    decoding="open_dllm",
    architecture="Qwen2ForCausalLM",
    build_config=qwen2_config,
    is_plain=True,
    scored_by_previous=True,
    mask_tokens=MASK_SPELLINGS,
    tokenizer_class="Qwen2Tokenizer",
    goldens=("decodes",),
    unverified="its own logits: those of the same class without the shift are A2D's",
)

OPEN_DLLM_QWEN3: Final = replace(
    OPEN_DLLM_QWEN2,
    model_type="qwen3",
    examples="REPR-ALIGN's",
    architecture="Qwen3ForCausalLM",
    build_config=qwen3_config,
    goldens=(),
    unverified="all but the self-test: no output of its authors' code is held",
)
