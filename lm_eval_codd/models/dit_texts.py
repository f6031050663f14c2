"""Texts and ids of a model of the DiT family, whose checkpoints have no tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from lm_eval.models.utils import handle_stop_sequences, postprocess_generated_text

from lm_eval_codd.backbones.checkpoint import CONFIG_FILES, find_checkpoint
from lm_eval_codd.backbones.plain_tokenizer import load_plain_tokenizer
from lm_eval_codd.models.texts import Texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

    from lm_eval_codd.dit.config import DiTConfig


# Of BERT's, where there is no tokenizer.json.
_VOCABULARY: Final = "vocab.txt"


class DiTTexts(Texts):
    """See `Texts`. Without a tokenizer a sample's text is its ids, and every text is refused.

    Attributes:
        is_there: whether there is a tokenizer.
    """

    is_there = True

    @classmethod
    def load(cls, pretrained: str, revision: str | None, tokenizer: str | None, config: DiTConfig) -> Self:
        """The tokenizer that is named, or that lies beside the weights.

        Raises:
            ValueError: one line: it cannot be read, or is not of the model's vocabulary.
        """
        source = tokenizer or _beside(pretrained, revision)
        if source is None:
            return cls.without(pretrained)
        loaded = load_plain_tokenizer(source, None if tokenizer else revision)
        number, columns = len(loaded), config.vocab_size
        # A mask that the tokenizer lacks, or padding that it was given and the model lacks.
        if abs(columns - number) > 1:
            raise ValueError(
                f"tokenizer `{source}` has {number} tokens, and `{pretrained}` {columns} logit columns; use the "
                "tokenizer that the model was trained with"
            )
        return cls(loaded, source, False, {})

    @classmethod
    def without(cls, pretrained: str) -> Self:
        """Of a model that has no tokenizer."""
        texts = cls.__new__(cls)
        texts.source, texts.is_there = pretrained, False
        return texts

    def ids(self, text: str) -> list[int]:
        """Of a text, without special tokens. Raises `ValueError` without a tokenizer."""
        if not self.is_there:
            raise ValueError(
                f"`{self.source}` has no tokenizer, so only requests of ids can be answered; give tokenizer=, such as "
                "tokenizer=gpt2"
            )
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def num_without_text(self, ids: Sequence[int]) -> int:
        """Of ids, those that the tokenizer does not have."""
        return sum(one >= len(self.tokenizer) for one in ids) if self.is_there else 0

    def sample(self, ids: Sequence[int], until: str | list[str] | None, *, is_whole: bool) -> str:
        """The text of a sample, cut at the first of its stop strings.

        Args:
            ids: of the sample.
            until: stop strings.
            is_whole: whether it is a whole row, whose special tokens are part of it.
        """
        if not self.is_there:
            return " ".join(map(str, ids))
        known = [one for one in ids if one < len(self.tokenizer)]
        text = self.tokenizer.decode(known, skip_special_tokens=not is_whole, clean_up_tokenization_spaces=False)
        return postprocess_generated_text(text, handle_stop_sequences(until, eos=None), think_end_token=None)

    def template(self, asked: bool | str) -> str | None:
        """See `Texts`."""
        if asked and not self.is_there:
            self.ids("")
        return super().template(asked) if self.is_there else None


def _beside(pretrained: str, revision: str | None) -> str | None:
    """A checkpoint's folder or hub id, where it has a tokenizer."""
    if Path(pretrained).expanduser().is_file():
        return None
    folder = find_checkpoint(pretrained, revision, files=(*CONFIG_FILES, _VOCABULARY)).folder
    return pretrained if any((folder / name).is_file() for name in ("tokenizer.json", _VOCABULARY)) else None
