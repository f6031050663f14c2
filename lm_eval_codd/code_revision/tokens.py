"""Text to token ids and back, without special tokens: what positions in a body count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["Tokens"]


class Tokens:
    """A tokenizer as the benchmark uses it: head and body apart, no special tokens, nothing tidied up.

    Args:
        tokenizer: of transformers, or anything with its `encode` and `decode`.
        name: folder or hub id that it came from; positions mean nothing without it.
    """

    def __init__(self, tokenizer: Any, name: str) -> None:
        self._tokenizer, self.name = tokenizer, name

    def ids(self, text: str) -> list[int]:
        """The token ids of a text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def text(self, ids: Sequence[int]) -> str:
        """The text of token ids; special tokens are skipped."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def keeps(self, ids: Sequence[int]) -> bool:
        """Whether the text of these ids becomes these ids again."""
        return self.ids(self.text(ids)) == list(ids)
