"""From pairs to likelihoods: out of the journal, or computed, as many canvases at a time as the batch size says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from lm_eval_codd import likelihood
from lm_eval_codd.likelihood import Likelihood
from lm_eval_codd.models.batching import BatchSize, within_memory
from lm_eval_codd.models.journal import Journal, Kept, Keys, take_journalled
from lm_eval_codd.models.masked_setup import scored_by

if TYPE_CHECKING:
    from lm_eval_codd.backbones.backbone import Backbone
    from lm_eval_codd.circuits.hmm import HMM
    from lm_eval_codd.models.pairs import Pair
    from lm_eval_codd.models.progress import ScoringProgress
    from lm_eval_codd.settings import LikelihoodConfig

# A guess at what one token of a canvas needs in a pass, in bytes.
_TOKEN_BYTES: Final = 1 << 17


class Scoring:
    """Scores pairs with one backbone, with or without a circuit.

    Args:
        backbone: the diffusion language model.
        circuit: couples its predictions, or None.
        batch_size: canvases in a pass of the network.
        journal: where likelihoods are looked up and written down, or None.
    """

    def __init__(self, backbone: Backbone, circuit: HMM | None, batch_size: BatchSize, journal: Journal | None) -> None:
        self._backbone, self._circuit = backbone, circuit
        self._batch_size, self.journal = batch_size, journal
        self._began = False

    @property
    def batch_size(self) -> int | None:
        """Canvases in a pass, once something was scored."""
        return self._batch_size.now if self._began else None

    def take_journalled(self, pairs: list[Pair]) -> Iterator[tuple[Pair, Kept[Likelihood]]]:
        """Remove from `pairs` those that are journalled, and yield them with their likelihoods."""
        return take_journalled(self.journal, pairs, self._keys, Likelihood)

    def score(self, pairs: Sequence[Pair], progress: ScoringProgress) -> Iterator[tuple[Pair, Kept[Likelihood]]]:
        """Score pairs; a likelihood is journalled before it is yielded."""
        groups: dict[LikelihoodConfig, list[Pair]] = defaultdict(list)
        for pair in pairs:
            groups[pair.config].append(pair)
        for config, group in groups.items():
            yield from self._score(config, group, progress)

    def _score(
        self, config: LikelihoodConfig, group: Sequence[Pair], progress: ScoringProgress
    ) -> Iterator[tuple[Pair, Kept[Likelihood]]]:
        lengths = [len(pair.prompt) + len(pair.target) for pair in group]
        self._began = True
        self._batch_size.start(self._backbone.device, _TOKEN_BYTES * max(lengths))
        keys = self._keys(group)

        def score(indices: list[int], batch_size: int) -> Iterator[tuple[int, Kept[Likelihood]]]:
            finished = likelihood.stream(
                self._backbone,
                [(group[index].prompt, group[index].target) for index in indices],
                config,
                self._circuit,
                batch_size=batch_size,
                on_pass=progress.on_pass,
            )
            return ((one.index, Kept(one.likelihood, one.seconds)) for one in finished)

        for index, scored in within_memory(lengths, self._batch_size, score):
            if self.journal is not None:
                self.journal.add([(keys[index], scored)])
            yield group[index], scored

    def _keys(self, pairs: Sequence[Pair]) -> list[str]:
        keys = {
            config: Keys(scored_by(config, self._backbone, self._circuit))
            for config in dict.fromkeys(pair.config for pair in pairs)
        }
        # The target is what a draft is to an answer: given tokens after the prompt.
        return [keys[pair.config].of(pair.prompt, 0, draft=pair.target) for pair in pairs]
