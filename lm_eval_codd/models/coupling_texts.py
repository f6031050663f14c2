"""Texts of Coupling Models, whose files have no tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lm_eval_codd.backbones.plain_tokenizer import load_plain_tokenizer
from lm_eval_codd.models.dit_texts import DiTTexts

if TYPE_CHECKING:
    from typing_extensions import Self


class CouplingTexts(DiTTexts):
    """See `DiTTexts`. Padding is in no text."""

    @classmethod
    def of(cls, pretrained: str, tokenizer: str | None, vocab_size: int) -> Self:
        """The tokenizer that is named.

        Raises:
            ValueError: one line: it cannot be read, or is not of the model's vocabulary.
        """
        if tokenizer is None:
            return cls.without(pretrained)
        loaded = load_plain_tokenizer(tokenizer)
        if len(loaded) > vocab_size + 1:  # padding that it was given and the model lacks
            raise ValueError(
                f"tokenizer `{tokenizer}` has {len(loaded)} tokens, and `{pretrained}` {vocab_size} logit columns; use "
                "the tokenizer that the model was trained with"
            )
        return cls(loaded, tokenizer, False, {})

    @property
    def pad_id(self) -> int | None:
        """Of the tokenizer; None without one."""
        return self.tokenizer.pad_token_id if self.is_there else None
