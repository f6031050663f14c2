"""From requests to answers: out of the journal, or decoded, as many at a time as the batch size says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lm_eval_codd import decoding
from lm_eval_codd.decoding import Generation
from lm_eval_codd.models.batching import BatchSize, within_memory
from lm_eval_codd.models.journal import Journal, Kept, Keys, take_journalled
from lm_eval_codd.models.masked_setup import made_by

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
        planner: scores what is decided, for the decoders that take one, or None.
    """

    def __init__(
        self,
        backbone: Backbone,
        circuit: HMM | None,
        batch_size: BatchSize,
        journal: Journal | None,
        planner: Backbone | None = None,
    ) -> None:
        self._backbone, self._circuit, self._planner = backbone, circuit, planner
        self._batch_size, self.journal = batch_size, journal

    def take_journalled(
        self, config: DecodingConfig, group: list[Request]
    ) -> Iterator[tuple[Request, Kept[Generation]]]:
        """Remove from `group` the requests that are journalled, and yield them with their answers."""
        return take_journalled(self.journal, group, lambda requests: self._keys(config, requests), Generation)

    def decode(
        self, config: DecodingConfig, group: list[Request], progress: Progress
    ) -> Iterator[tuple[Request, Kept[Generation]]]:
        """Decode requests that share their settings; an answer is journalled before it is yielded."""
        drafted = [request for request in group if request.draft is not None]
        for part in (drafted, [request for request in group if request.draft is None]):
            if part:
                yield from self._decode(config, part, progress)

    def _decode(
        self, config: DecodingConfig, group: list[Request], progress: Progress
    ) -> Iterator[tuple[Request, Kept[Generation]]]:
        """As `decode`, of requests that all have a draft, or all none."""
        drafts = [request.draft for request in group if request.draft is not None]
        # Logits, a circuit's evidence and what it makes of it, in float32, at every position that a step looks at.
        num_positions = config.block_length if config.goes_by_blocks else config.gen_length
        if drafts:
            num_positions = max(map(len, drafts))
        self._batch_size.start(self._backbone.device, 3 * 4 * num_positions * self._backbone.vocab_size)
        keys = self._keys(config, group)

        def decode(indices: list[int], batch_size: int) -> Iterator[tuple[int, Kept[Generation]]]:
            finished = decoding.stream(
                self._backbone,
                [group[index].prompt for index in indices],
                config,
                circuit=self._circuit,
                on_step=progress.on_step,
                drafts=[drafts[index] for index in indices] if drafts else None,
                planner=self._planner,
                repeats=[group[index].repeat for index in indices],
                batch_size=batch_size,
                keep_rounds=bool(drafts),
            )
            return ((one.index, Kept(one.generation, one.seconds)) for one in finished)

        for index, answer in within_memory([len(request.prompt) for request in group], self._batch_size, decode):
            if self.journal is not None:
                self.journal.add([(keys[index], answer)])
            yield group[index], answer

    def _keys(self, config: DecodingConfig, requests: list[Request]) -> list[str]:
        keys = Keys(made_by(config, self._backbone, self._circuit, self._planner))
        return [keys.of(request.prompt, request.repeat, request.draft) for request in requests]
