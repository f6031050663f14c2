"""From requests to samples and bounds of the DiT family: out of the journal, or computed in batches."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from lm_eval_codd.decoding import Generation
from lm_eval_codd.dit import sample_dit
from lm_eval_codd.dit.likelihood import stream
from lm_eval_codd.dit.samplers.psi_profile import of_profile
from lm_eval_codd.likelihood import Likelihood
from lm_eval_codd.models.batching import within_memory
from lm_eval_codd.models.dit_setup import sampled_by, scored_by
from lm_eval_codd.models.journal import Journal, Kept, Keys, take_journalled
from lm_eval_codd.models.requests import sample_index

if TYPE_CHECKING:
    from lm_eval_codd.circuits.hmm import HMM
    from lm_eval_codd.dit import DiT
    from lm_eval_codd.models.batching import BatchSize
    from lm_eval_codd.models.pairs import Pair
    from lm_eval_codd.models.progress import Progress, ScoringProgress
    from lm_eval_codd.models.requests import Request
    from lm_eval_codd.settings import DiTSettings

# A guess at what one token of a row needs in a pass, in bytes.
_TOKEN_BYTES: Final = 1 << 17


class DiTSampling:
    """Samples rows.

    All rows of a batch take the same number of steps, so that none ends early and there is nothing to refill: batches
    are fixed, and of rows of one length.

    Args:
        dit: the model.
        circuit: couples what leaves the mask in one step, or None.
        batch_size: rows at once.
        journal: where samples are looked up and written down, or None.
        max_length: tokens of a row.
    """

    def __init__(
        self, dit: DiT, circuit: HMM | None, batch_size: BatchSize, journal: Journal | None, max_length: int
    ) -> None:
        self._dit, self._circuit, self._max_length = dit, circuit, max_length
        self._batch_size, self._journal = batch_size, journal

    def take_journalled(self, config: DiTSettings, group: list[Request]) -> Iterator[tuple[Request, Kept[Generation]]]:
        """Remove from `group` the requests that are journalled, and yield them with their samples."""
        return take_journalled(self._journal, group, lambda requests: self._keys(config, requests), Generation)

    def decode(
        self, config: DiTSettings, group: list[Request], progress: Progress
    ) -> Iterator[tuple[Request, Kept[Generation]]]:
        """Sample for requests that share their settings; a sample is journalled before it is yielded."""
        by_length: dict[int, list[Request]] = defaultdict(list)
        for request in group:
            by_length[row_length(len(request.prompt), config, self._max_length)].append(request)
        # Long rows first, so that `auto` finds a size that fits the others too.
        for length in sorted(by_length, reverse=True):
            yield from self._decode(config, by_length[length], length, progress)

    def _decode(
        self, config: DiTSettings, group: Sequence[Request], length: int, progress: Progress
    ) -> Iterator[tuple[Request, Kept[Generation]]]:
        self._batch_size.start(self._dit.device, _TOKEN_BYTES * length)
        keys = self._keys(config, group)

        def sample(indices: list[int], batch_size: int) -> Iterator[tuple[int, Kept[Generation]]]:
            for start in range(0, len(indices), batch_size):
                some = [group[index] for index in indices[start : start + batch_size]]
                yield from enumerate(self._sampled(config, some, length, progress), start)

        for index, kept in within_memory([length] * len(group), self._batch_size, sample):
            if self._journal is not None:
                self._journal.add([(keys[index], kept)])
            yield group[index], kept

    def _sampled(
        self, config: DiTSettings, requests: Sequence[Request], length: int, progress: Progress
    ) -> Iterator[Kept[Generation]]:
        began = time.monotonic()
        psi = None
        if config.predictor == "psi":
            psi = of_profile(self._dit.schedule, config.num_steps, config.profile())
        samples = sample_dit(
            self._dit,
            len(requests),
            length,
            None if self._dit.process is None else config.num_steps,
            predictor=config.predictor or "ancestral",
            noise_removal=config.noise_removal,
            p_nucleus=config.p_nucleus,
            use_float64=config.use_float64,
            seed=config.seed,
            psi=psi,
            circuit=self._circuit,
            pc_frac=config.pc_frac,
            reverse_frac=config.reverse_frac,
            prompts=[request.prompt for request in requests],
            indices=[sample_index(request) for request in requests],
            on_pass=progress.on_step,
        )
        seconds = (time.monotonic() - began) / len(requests)
        for request, sample in zip(requests, samples, strict=True):
            number = length - len(request.prompt)
            yield Kept(Generation(sample.tokens, number, sample.num_forward, sample.num_circuit), seconds)

    def _keys(self, config: DiTSettings, requests: Sequence[Request]) -> list[str]:
        # Without gen_length a row is as long as the model takes.
        length = {"max_length": self._max_length} if config.gen_length is None else {}
        keys = Keys({**sampled_by(config, self._dit, self._circuit), **length})
        return [keys.of(request.prompt, sample_index(request)) for request in requests]


def row_length(prompt_length: int, config: DiTSettings, max_length: int) -> int:
    """Tokens of a row: prompt and answer, or all that the model takes."""
    return max_length if config.gen_length is None else prompt_length + config.gen_length


class DiTScoring:
    """Computes bounds.

    Args:
        dit: the model.
        batch_size: rows in a pass of the network.
        journal: where bounds are looked up and written down, or None.
    """

    def __init__(self, dit: DiT, batch_size: BatchSize, journal: Journal | None) -> None:
        self._dit, self._batch_size, self._journal = dit, batch_size, journal
        self._began = False

    @property
    def batch_size(self) -> int | None:
        """Rows in a pass, once something was scored."""
        return self._batch_size.now if self._began else None

    def take_journalled(self, pairs: list[Pair]) -> Iterator[tuple[Pair, Kept[Likelihood]]]:
        """Remove from `pairs` those that are journalled, and yield them with their bounds."""
        return take_journalled(self._journal, pairs, self._keys, Likelihood)

    def score(self, pairs: Sequence[Pair], progress: ScoringProgress) -> Iterator[tuple[Pair, Kept[Likelihood]]]:
        """Score pairs; a bound is journalled before it is yielded."""
        groups: dict[DiTSettings, list[Pair]] = defaultdict(list)
        for pair in pairs:
            groups[pair.config].append(pair)
        for config, group in groups.items():
            yield from self._score(config, group, progress)

    def _score(
        self, config: DiTSettings, group: Sequence[Pair], progress: ScoringProgress
    ) -> Iterator[tuple[Pair, Kept[Likelihood]]]:
        lengths = [len(pair.prompt) + len(pair.target) for pair in group]
        self._began = True
        self._batch_size.start(self._dit.device, _TOKEN_BYTES * max(lengths))
        keys = self._keys(group)

        def score(indices: list[int], batch_size: int) -> Iterator[tuple[int, Kept[Likelihood]]]:
            some = [group[index] for index in indices]
            finished = stream(
                self._dit,
                [(pair.prompt, pair.target) for pair in some],
                config.mode,
                config.num_samples,
                config.seed,
                # On a CPU rows gain next to nothing from each other, and alone their values are exact.
                None if self._dit.device.type == "cpu" else batch_size,
                is_greedy=config.is_greedy,
                noise_of=[pair.prompt + pair.target if pair.is_alone else pair.prompt for pair in some],
                on_pass=progress.on_pass,
            )
            for one in finished:
                bound = one.bound
                likelihood = Likelihood(bound.value, bound.stderr, bound.num_forward, bound.is_greedy)
                yield one.index, Kept(likelihood, one.seconds)

        for index, scored in within_memory(lengths, self._batch_size, score):
            if self._journal is not None:
                self._journal.add([(keys[index], scored)])
            yield group[index], scored

    def _keys(self, pairs: Sequence[Pair]) -> list[str]:
        keys = {
            (config, is_alone): Keys({**scored_by(config, self._dit), **({"noise": "of the row"} if is_alone else {})})
            for config, is_alone in dict.fromkeys((pair.config, pair.is_alone) for pair in pairs)
        }
        return [keys[pair.config, pair.is_alone].of(pair.prompt, 0, draft=pair.target) for pair in pairs]
