"""From requests to samples of Coupling Models: out of the journal, or drawn in batches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from lm_eval_codd.decoding import Generation
from lm_eval_codd.latent import sample_coupling
from lm_eval_codd.models.batching import within_memory
from lm_eval_codd.models.coupling_setup import sampled_by
from lm_eval_codd.models.journal import Journal, Kept, Keys, take_journalled
from lm_eval_codd.models.requests import sample_index

if TYPE_CHECKING:
    from lm_eval_codd.latent import CouplingModel
    from lm_eval_codd.models.batching import BatchSize
    from lm_eval_codd.models.progress import Progress
    from lm_eval_codd.models.requests import Request
    from lm_eval_codd.settings.coupling import CouplingSettings

# Of a logit: itself, its order and its place in it, and what is made of them on the way.
_LOGIT_BYTES: Final = 32


class CouplingSampling:
    """Samples rows.

    Args:
        model: what samples.
        batch_size: rows at once.
        journal: where samples are looked up and written down, or None.
    """

    def __init__(self, model: CouplingModel, batch_size: BatchSize, journal: Journal | None) -> None:
        self._model, self._batch_size, self._journal = model, batch_size, journal

    def take_journalled(
        self, config: CouplingSettings, group: list[Request]
    ) -> Iterator[tuple[Request, Kept[Generation]]]:
        """Remove from `group` the requests that are journalled, and yield them with their samples."""
        return take_journalled(self._journal, group, lambda requests: self._keys(config, requests), Generation)

    def decode(
        self, config: CouplingSettings, group: list[Request], progress: Progress
    ) -> Iterator[tuple[Request, Kept[Generation]]]:
        """Sample for requests that share their settings; a sample is journalled before it is yielded."""
        model = self._model
        self._batch_size.start(model.device, _LOGIT_BYTES * model.length * model.vocab_size)
        keys = self._keys(config, group)

        def sample(indices: list[int], batch_size: int) -> Iterator[tuple[int, Kept[Generation]]]:
            for start in range(0, len(indices), batch_size):
                some = [group[index] for index in indices[start : start + batch_size]]
                yield from enumerate(self._sampled(config, some), start)

        for index, kept in within_memory([model.length] * len(group), self._batch_size, sample):
            if self._journal is not None:
                self._journal.add([(keys[index], kept)])
            yield group[index], kept

    def _sampled(self, config: CouplingSettings, requests: Sequence[Request]) -> Iterator[Kept[Generation]]:
        began = time.monotonic()
        samples = sample_coupling(
            self._model,
            len(requests),
            **config.of_samples(self._model.kind),
            indices=[sample_index(request) for request in requests],
            batch_size=len(requests),
        )
        seconds = (time.monotonic() - began) / len(requests)
        for sample in samples:
            yield Kept(Generation(sample.tokens, self._model.length, sample.num_forward, 0), seconds)

    def _keys(self, config: CouplingSettings, requests: Sequence[Request]) -> list[str]:
        keys = Keys(sampled_by(config, self._model))
        return [keys.of([], sample_index(request)) for request in requests]
