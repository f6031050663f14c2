"""lm-eval's likelihood requests: what a model thinks of given texts."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import TYPE_CHECKING, Any, Protocol

from lm_eval_codd.carried import Nats
from lm_eval_codd.models.front_door import refuse_unread_greedy
from lm_eval_codd.models.harness_lm import HarnessLM
from lm_eval_codd.models.pairs import Pair, fit, pair_of, reads_greedy, windows_of
from lm_eval_codd.models.preemption import keeping_answers
from lm_eval_codd.models.progress import ScoringProgress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lm_eval.api.instance import Instance

    from lm_eval_codd.likelihood import Likelihood
    from lm_eval_codd.models.evaluation import Evaluation
    from lm_eval_codd.models.journal import Kept
    from lm_eval_codd.settings import LikelihoodConfig


class Choices(Protocol):
    """Settings before it is known which request they are for."""

    def asks_for_greedy(self, typed: Mapping[str, Any]) -> bool | None:
        """Whether `is_greedy` was said, by model_args or `--gen_kwargs`; None where nobody did."""
        ...


class Scores(Protocol):
    """Where likelihoods come from."""

    @property
    def batch_size(self) -> int | None:
        """Rows in a pass, once something was scored."""
        ...

    def take_journalled(self, pairs: list[Pair]) -> Iterator[tuple[Pair, Kept[Likelihood]]]:
        """Remove from `pairs` those that are journalled, and yield them with their likelihoods."""
        ...

    def score(self, pairs: Sequence[Pair], progress: ScoringProgress) -> Iterator[tuple[Pair, Kept[Likelihood]]]:
        """Score pairs; a likelihood is journalled before it is yielded."""
        ...


class LikelihoodLM(HarnessLM):
    """The half of a model that scores. Its subclass loads it.

    Attributes:
        likelihoods: the settings of the evaluation's log-likelihoods.
    """

    likelihoods: Any
    _settings: Choices
    _scoring: Scores

    @property
    def batch_sizes(self) -> dict[str, int]:
        """See `HarnessLM`."""
        own = {} if self._scoring.batch_size is None else {"loglikelihood": self._scoring.batch_size}
        return own | super().batch_sizes

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """What the model thinks of each continuation after its context.

        Args:
            requests: lm-eval's instances, with (context, continuation). A context that does not fit loses its left end.
            disable_tqdm: show no progress.

        Returns:
            In the order of the requests: `Nats`, and whether decoding one token a step would write the continuation;
            False where no metric reads that. For what the nats are see `LikelihoodConfig.meaning`.
        """
        evaluation = self._start_evaluation("loglikelihood")
        pairs = [
            self._fitted(request, *pair_of(request, self.tok_encode), self._likelihoods_of(request, evaluation))
            for request in requests
        ]
        scored = self._score(pairs, [request.task_name for request in requests], hidden=disable_tqdm)
        results: list[tuple[float, bool]] = [
            (self._sum([pair], [scored[pair].result]), bool(scored[pair].result.is_greedy)) for pair in pairs
        ]
        for request, result in zip(requests, results, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, result)
        return results

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """What the model thinks of each text, window by window (`pairs.windows_of`).

        Args:
            requests: lm-eval's instances, with (text,).
            disable_tqdm: show no progress.

        Returns:
            In the order of the requests, `Nats`; 0 for an empty text.
        """
        self._start_evaluation("loglikelihood_rolling")
        windows = [self._windows(request) for request in requests]
        tasks = [request.task_name for request, pairs in zip(requests, windows, strict=True) for _ in pairs]
        scored = self._score(list(itertools.chain(*windows)), tasks, hidden=disable_tqdm)
        values: list[float] = [self._sum(pairs, [scored[pair].result for pair in pairs]) for pairs in windows]
        for request, value in zip(requests, values, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, value)
        return values

    def _windows(self, request: Instance) -> list[Pair]:
        """A text's windows, each of its tokens in one target."""
        return [
            self._fitted(request, prompt, target, self.likelihoods)
            for prompt, target in windows_of(request, self.tok_encode, self.max_length)
        ]

    def _scored(self, pair: Pair) -> tuple[int, ...]:
        """The tokens that a pair's likelihood is of."""
        return pair.target

    def _sum(self, pairs: list[Pair], likelihoods: list[Likelihood]) -> Nats:
        """Of a text's windows."""
        errors = [one.stderr for one in likelihoods]
        return Nats(
            math.fsum(one.value for one in likelihoods),
            num_tokens=sum(len(self._scored(pair)) for pair in pairs),
            stderr=None if None in errors else math.hypot(*(error or 0.0 for error in errors)),
            num_forward=sum(one.num_forward for one in likelihoods),
        )

    def _loglikelihood_tokens(self, requests: list, disable_tqdm: bool = False, **kwargs: Any) -> list:
        """`loglikelihood` of what is tokens already: ((context, continuation), their tokens) each."""
        config = dataclasses.replace(self.likelihoods, is_greedy=True)
        pairs = [Pair(tuple(prompt), tuple(target), config) for _, prompt, target in requests]
        scored = self._score(pairs, ["a task that is not named"] * len(pairs), hidden=disable_tqdm)
        return [(scored[pair].result.value, bool(scored[pair].result.is_greedy)) for pair in pairs]

    def _score(self, pairs: list[Pair], tasks: Sequence[str | None], *, hidden: bool) -> dict[Pair, Kept[Likelihood]]:
        """Every pair's likelihood, of the task of each; equal ones are computed once."""
        waiting, totals, scored = list(dict.fromkeys(pairs)), self._record.likelihoods, {}
        mask_id, total = self._setup().mask_id, len(waiting)
        for task, pair in dict.fromkeys(zip(tasks, pairs, strict=True)):
            if mask_id in self._scored(pair):
                totals.note_mask(str(task))
        self._record.log_warnings(self._setup())
        for pair, one in self._scoring.take_journalled(waiting):
            totals.add(one, len(self._scored(pair)), journalled=True)
            scored[pair] = one
        bar = ScoringProgress(total, len(scored), totals, hidden=hidden or self.rank > 0)
        with bar as progress, keeping_answers(self._journal):
            for pair, one in self._scoring.score(waiting, progress):
                totals.add(one, len(self._scored(pair)))
                scored[pair] = one
                progress.add_answer()
        self._record.add_routing(self._setup())
        self._record.log_warnings(self._setup())
        return scored

    def _fitted(self, request: Instance, prompt: Sequence[int], target: Sequence[int], config: Any) -> Pair:
        kept = fit(prompt, target, self.max_length, request)
        self._record.likelihoods.truncated_contexts += len(kept) < len(prompt)
        return Pair(tuple(kept), tuple(target), config)

    def _likelihoods_of(self, request: Instance, evaluation: Evaluation) -> LikelihoodConfig:
        """The settings for a request: whether its target is greedy is found out where a metric may read it."""
        asked = self._settings.asks_for_greedy(evaluation.gen_kwargs)
        is_read = reads_greedy(evaluation.tasks.get(str(request.task_name)))
        if asked is False and is_read:
            raise refuse_unread_greedy(str(request.task_name))
        is_greedy = is_read is not False if asked is None else asked
        return dataclasses.replace(self.likelihoods, is_greedy=is_greedy)
