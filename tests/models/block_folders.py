"""Tiny random checkpoints in the official layouts of block-causal families, with tokenizers of bytes and words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from torch import Tensor
from transformers import PreTrainedTokenizerFast

VOCAB_SIZE: Final = 300
EOS, MASK = 297, 299
# Of each family, what its tokenizer calls the mask and the end of a turn, and the field with a block's length.
FAMILIES: Final = {
    "sdar": ("<|MASK|>", "<|im_end|>", "block_size"),
    "llada2": ("<|mask|>", "<|role_end|>", "block_length"),
    "fast_dllm_v2": ("|<MASK>|", "<|im_end|>", "bd_size"),
    "a2d_qwen3": ("<|mask|>", "<|im_end|>", "block_size"),
}
BLOCK_LENGTH: Final = {"sdar": 4, "llada2": 8, "fast_dllm_v2": 8, "a2d_qwen3": 8}


def write_block_checkpoint(golden: Path, folder: Path) -> str:
    """The folder, filled: layers of a golden checkpoint under its own names, over a vocabulary that has all bytes."""
    mask, end_of_turn, field = FAMILIES[golden.name]
    config = json.loads((golden / "config.json").read_text())
    config |= {"vocab_size": VOCAB_SIZE, "eos_token_id": EOS, "max_position_embeddings": 4096}
    config |= {field: BLOCK_LENGTH[golden.name]}
    config.pop("mask_token_id", None)
    tensors = load_file(golden / "model.safetensors")
    return write_checkpoint(folder, config, tensors, vocab_size=113, mask=mask, end_of_turn=end_of_turn)


def write_checkpoint(
    folder: Path, config: dict[str, Any], tensors: dict[str, Tensor], *, vocab_size: int, mask: str, end_of_turn: str
) -> str:
    """The folder, filled: tensors with `VOCAB_SIZE` rows where they had `vocab_size`, and a tokenizer of as many."""
    generator = torch.Generator().manual_seed(3)
    for name, tensor in tensors.items():
        if tensor.shape[0] == vocab_size:
            tensors[name] = torch.randn(VOCAB_SIZE, *tensor.shape[1:], generator=generator)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_tokenizer(folder, mask=mask, end_of_turn=end_of_turn)
    return str(folder)


def write_tokenizer(folder: Path, *, mask: str, end_of_turn: str, bos: str | None = None) -> None:
    """A tokenizer of `VOCAB_SIZE` tokens: bytes, words, and the special ones."""
    vocab = {character: index for index, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocab |= {f"w{index}": index for index in range(len(vocab), EOS)}
    vocab |= {"<|endoftext|>": EOS, end_of_turn: EOS + 1, mask: MASK}
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        bos_token=bos,
        extra_special_tokens=[end_of_turn, mask],
    ).save_pretrained(folder)
