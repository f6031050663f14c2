"""From requests to answers: out of the journal, or decoded batch by batch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lm_eval_codd import decoding
from lm_eval_codd.models.batching import BatchSize, in_batches
from lm_eval_codd.models.journal import Answer, Journal, Keys
from lm_eval_codd.models.record import made_by

if TYPE_CHECKING:
    from lm_eval_codd.backbones.backbone import Backbone
    from lm_eval_codd.circuits.hmm import HMM
    from lm_eval_codd.models.progress import Progress
    from lm_eval_codd.models.requests import Request
    from lm_eval_codd.settings import DecodingConfig


class Answering:
    """Answers requests of one backbone, with or without a circuit.

    Args:
        backbone: the diffusion language model.
        circuit: couples its predictions, or None.
        batch_size: requests decoded at once.
        journal: where answers are looked up and written down, or None.
    """

    def __init__(
        self,
        backbone: Backbone,
        circuit: HMM | None,
        batch_size: BatchSize,
        journal: Journal | None,
    ) -> None:
        self._backbone, self._circuit = backbone, circuit
        self._batch_size, self._journal = batch_size, journal

    def take_journalled(self, config: DecodingConfig, group: list[Request]) -> Iterator[tuple[Request, Answer]]:
        """Remove from `group` the requests that are journalled, and yield them with their answers."""
        if self._journal is None:
            return
        requests = list(group)
        group.clear()
        for request, key in zip(requests, self._keys(config, requests), strict=True):
            answer = self._journal.find(key)
            if answer is None:
                group.append(request)
            else:
                yield request, answer

    def decode(
        self, config: DecodingConfig, group: list[Request], progress: Progress
    ) -> Iterator[tuple[Request, Answer]]:
        """Decode requests that share their settings; a batch is journalled before its first answer is yielded."""
        # Logits, their softmax and a sorted copy, in float32, at every position of an answer.
        row_bytes = 3 * 4 * config.gen_length * self._backbone.vocab_size
        self._batch_size.start(self._backbone.device, row_bytes)

        def decode(indices: list[int]) -> list[Answer]:
            return self._batch(config, [group[index] for index in indices], progress)

        for indices, answers in in_batches([len(request.prompt) for request in group], self._batch_size, decode):
            batch = [group[index] for index in indices]
            if self._journal is not None:
                self._journal.add(zip(self._keys(config, batch), answers, strict=True))
            yield from zip(batch, answers, strict=True)

    def _keys(self, config: DecodingConfig, requests: list[Request]) -> list[str]:
        keys = Keys(made_by(config, self._backbone, self._circuit))
        return [keys.of(request.prompt, request.repeat) for request in requests]

    def _batch(self, config: DecodingConfig, batch: list[Request], progress: Progress) -> list[Answer]:
        progress.start_batch()
        start = time.perf_counter()
        generations = decoding.generate(
            self._backbone,
            [request.prompt for request in batch],
            config,
            circuit=self._circuit,
            on_step=progress.on_step,
            repeats=[request.repeat for request in batch],
        )
        seconds = (time.perf_counter() - start) / len(batch)
        return [Answer(generation, seconds) for generation in generations]
