"""From requests to DiffusionGemma's answers: out of the journal, or generated one at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from lm_eval_codd.decoding import Generation
from lm_eval_codd.models.journal import Journal, Kept, Keys, take_journalled
from lm_eval_codd.models.native_setup import made_by
from lm_eval_codd.tensors.noise import row_keys

if TYPE_CHECKING:
    from lm_eval_codd.backbones.native import Native
    from lm_eval_codd.models.progress import Progress
    from lm_eval_codd.models.requests import Request
    from lm_eval_codd.settings.native import NativeSettings


class NativeAnswering:
    """Answers requests.

    Args:
        native: what answers.
        journal: where answers are looked up and written down, or None.
    """

    def __init__(self, native: Native, journal: Journal | None) -> None:
        self._native, self._journal = native, journal

    def take_journalled(
        self, config: NativeSettings, group: list[Request]
    ) -> Iterator[tuple[Request, Kept[Generation]]]:
        """Remove from `group` the requests that are journalled, and yield them with their answers."""
        return take_journalled(self._journal, group, lambda requests: self._keys(config, requests), Generation)

    def decode(
        self, config: NativeSettings, group: list[Request], progress: Progress
    ) -> Iterator[tuple[Request, Kept[Generation]]]:
        """Answer requests that share their settings; an answer is journalled before it is yielded."""
        for request, key in zip(group, self._keys(config, group), strict=True):
            began = time.monotonic()
            (drawn,) = row_keys(config.seed, [request.prompt], [request.repeat], torch.device("cpu")).tolist()
            answer = self._native.answer(request.prompt, config, drawn)
            kept = Kept(Generation(*answer), time.monotonic() - began)
            if self._journal is not None:
                self._journal.add([(key, kept)])
            yield request, kept

    def _keys(self, config: NativeSettings, requests: Sequence[Request]) -> list[str]:
        keys = Keys(made_by(config, self._native))
        return [keys.of(request.prompt, request.repeat) for request in requests]
