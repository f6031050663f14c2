"""Tiny random Qwen2 and Qwen3 diffusion checkpoints of each kind, with tokenizers, as their trainers leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

VOCAB_SIZE: Final = 300
ENDS: Final = ("<|endoftext|>", "<|im_end|>")
# What an ordinary checkpoint's tokenizer has, then what trainings add.
SPECIAL: Final = {token: 280 + index for index, token in enumerate((*ENDS, "<M>"))}
TEMPLATE: Final = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<bot>"
    "{% if enable_thinking is defined %}[{{ enable_thinking }}]{% endif %}{% endif %}"
)
KINDS: Final = ("qwen2", "qwen3", "a2d-qwen2", "a2d-qwen3")


def write_checkpoint(folder: Path, model_type: str, *, has_mask: bool = True, template: str | None = None) -> str:
    """The folder, filled: `model_type` is one of `KINDS`; without a mask token `qwen2` is an ordinary model's."""
    is_qwen2 = model_type.endswith("qwen2")
    shape = {"vocab_size": VOCAB_SIZE, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
    torch.manual_seed(7)
    if is_qwen2:
        model = Qwen2ForCausalLM(Qwen2Config(**shape, **heads, tie_word_embeddings=True))
    else:
        model = Qwen3ForCausalLM(Qwen3Config(**shape, **heads, head_dim=8, tie_word_embeddings=True))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.normal_(0, 0.5)
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": model_type, "eos_token_id": SPECIAL[ENDS[0]]}
    (folder / "config.json").write_text(json.dumps(config))
    _write_tokenizer(folder, mask=("<M>" if has_mask else None), template=template)
    return str(folder)


def _write_tokenizer(folder: Path, *, mask: str | None, template: str | None) -> None:
    special = {token: index for token, index in SPECIAL.items() if token in ENDS or token == mask}
    vocab = {character: index for index, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocab |= {f"w{index}": index for index in range(len(vocab), 280)} | special
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=ENDS[0],
        pad_token=ENDS[0],
        mask_token=mask,
        extra_special_tokens=[ENDS[1]],
    )
    fast.chat_template = template
    fast.save_pretrained(folder)
