"""A tokenizer of one token a byte, as files: it can say any program, and its positions are those of characters."""

from pathlib import Path

END, MASK = "<|endoftext|>", "<M>"


def save_byte_tokenizer(folder: Path) -> None:
    """Write its files; ids 0 to 255 are bytes, 256 the end and 257 the mask."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({letter: number for number, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END, mask_token=MASK)
    fast.save_pretrained(folder)
