"""iLLaDA's layout (GSAI-ML/iLLaDA-8B-Base, -Instruct): LLaDA's training on a Llama, under Llama's own field names.

Its files were not seen here: fields and names are those that its authors' texts give. What is otherwise is refused by
its name where the weights are loaded.
"""

from __future__ import annotations

from typing import Final

from lm_eval_codd.backbones.families.llama import llama_config
from lm_eval_codd.backbones.layout import Layout

ILLADA: Final = Layout(
    model_type="illada",
    examples="iLLaDA-8B",
    also_marked=("llada", ("hidden_size", "intermediate_size", "num_hidden_layers")),
    never_has="d_model",  # LLaDA's own name of the width; some tools write Llama's beside it
    family="illada",
    decoding="llada",
    architecture="LlamaForCausalLM",
    build_config=llama_config,
    mask_tokens=("<[MASK]>",),  # id 5 of the published tokenizer
    goldens=(),
    unverified="its files, which were not seen here: names of weights, rope_theta, ends of answers",
)
