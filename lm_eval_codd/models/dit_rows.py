"""lm-eval's likelihood requests as rows of a model of the DiT family."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lm_eval_codd.models.pairs import Pair, where

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from lm_eval_codd.settings import DiTSettings


@dataclass(frozen=True)
class DiTRows:
    """How texts become rows.

    Attributes:
        begin: ids that every text begins with: the begin token, or none.
        end_id: of the end token, or None.
        max_length: tokens of a row.
        is_ar: whether the model says nothing of a row's first token.
    """

    begin: tuple[int, ...]
    end_id: int | None
    max_length: int
    is_ar: bool

    def shortened(self, tokens: Sequence[int], room: int) -> list[int]:
        """The end of a text that fits, behind its begin token."""
        if len(tokens) <= room:
            return list(tokens)
        begin = self.begin if tuple(tokens[: len(self.begin)]) == self.begin else ()
        return [*begin, *tokens[len(tokens) - room + len(begin) :]]

    def ended(self, tokens: Sequence[int], config: DiTSettings) -> list[int]:
        """What is scored, with the end token where it is asked for. Raises `ValueError` where there is none."""
        if not config.append_eos:
            return list(tokens)
        if self.end_id is None:
            raise ValueError(
                "`append_eos=True`: the checkpoint does not say which token ends a row; leave it out, or put "
                "eos_token_id into its config.json"
            )
        return [*tokens, self.end_id]

    def pair(self, request: Instance, prompt: Sequence[int], target: Sequence[int], config: DiTSettings) -> Pair:
        """A continuation after what of its context fits.

        Raises:
            ValueError: one line: the continuation alone is too long.
        """
        target = self.ended(target, config)
        room = self.max_length - len(target)
        if room < len(self.begin):
            raise ValueError(
                f"{where(request)}: a continuation of {len(target)} tokens does not fit into "
                f"`max_length={self.max_length}`; use a model that takes more, or leave the document out"
            )
        return Pair(tuple(self.shortened(prompt, room)), tuple(target), config)

    def windows(self, tokens: Sequence[int], config: DiTSettings) -> list[Pair]:
        """A text in windows behind a begin token each, every token in one of them."""
        tokens = self.ended(tokens, config) if tokens else []
        size = self.max_length - len(self.begin)
        pieces = [tuple(tokens[start : start + size]) for start in range(0, len(tokens), size)]
        return [Pair(self.begin, piece, config, is_alone=True) for piece in pieces]

    def whole(self, request: Instance, ids: tuple[int, ...], config: DiTSettings) -> Pair:
        """Ids as one window, of which all is scored.

        Raises:
            ValueError: one line: they are too many.
        """
        if len(ids) > self.max_length:
            raise ValueError(
                f"{where(request)}: a window of {len(ids)} tokens is longer than `max_length={self.max_length}`; "
                "pack the text for this model"
            )
        if self.is_ar:
            return Pair(ids[:1], ids[1:], config, is_alone=True)
        return Pair((), ids, dataclasses.replace(config, mode="joint"), is_alone=True)
