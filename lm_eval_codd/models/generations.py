"""lm-eval's requests for text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from lm_eval_codd.models.cache_guard import refuse_repeats, refuse_samples_by_document
from lm_eval_codd.models.harness_lm import HarnessLM
from lm_eval_codd.models.preemption import keeping_answers
from lm_eval_codd.models.progress import Progress
from lm_eval_codd.models.requests import sort_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lm_eval.api.instance import Instance

    from lm_eval_codd.decoding import Generation
    from lm_eval_codd.models.evaluation import Evaluation
    from lm_eval_codd.models.journal import Kept
    from lm_eval_codd.models.requests import Prompt, Request


class Answers(Protocol):
    """Where answers come from."""

    def take_journalled(self, config: Any, group: list[Request]) -> Iterator[tuple[Request, Kept[Generation]]]:
        """Remove from `group` the requests that are journalled, and yield them with their answers."""
        ...

    def decode(
        self, config: Any, group: list[Request], progress: Progress
    ) -> Iterator[tuple[Request, Kept[Generation]]]:
        """Answer requests that share their settings; an answer is journalled before it is yielded."""
        ...


class GenerationLM(HarnessLM):
    """The half of a model that writes. Its subclass loads it, and says what a request is to it."""

    # Whether requests without a prompt are told apart by their documents.
    _samples_by_document: ClassVar[bool] = False
    _answering: Answers

    def _config_of(self, instance: Instance, evaluation: Evaluation) -> Any:
        """The settings that an instance is answered with. Raises `ValueError`, one line, for impossible ones."""
        raise NotImplementedError

    def _prompt(self, instance: Instance, config: Any) -> Prompt:
        """What is answered. Raises `ValueError`, one line, where it cannot be."""
        raise NotImplementedError

    def _text(self, request: Request, generation: Generation, config: Any) -> str:
        """The answer, for lm-eval."""
        raise NotImplementedError

    def _draws(self, config: Any) -> bool:
        """Whether answers to a prompt differ from one another, by chance."""
        raise NotImplementedError

    def _remarks(self, groups: Mapping[Any, Sequence[Request]]) -> Iterable[str]:
        """What is to be said of requests, by their settings, before they are answered."""
        return ()

    @property
    def batch_sizes(self) -> dict[str, int]:
        """See `HarnessLM`."""
        own = {} if self._batch_size.now is None else {"generate_until": self._batch_size.now}
        return own | super().batch_sizes

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Decode an answer to every request.

        Args:
            requests: lm-eval's instances; one that comes n times is answered n times, each with its own random draws.
            disable_tqdm: show no progress.

        Returns:
            The answers in the order of the requests, cut at their `until` strings.
        """
        evaluation = self._start_evaluation("generate_until")
        keys, groups = sort_out(
            requests, lambda instance: self._config_of(instance, evaluation), self._prompt, self._draws
        )
        self._say(self._remarks(groups))
        if self.cache_hook.dbdict is not None:
            if self._samples_by_document:
                refuse_samples_by_document(
                    request.instance for group in groups.values() for request in group if not request.prompt
                )
            refuse_repeats(
                request.instance for config, group in groups.items() if self._draws(config) for request in group
            )
        self._record.log_warnings(self._setup())
        total = sum(map(len, groups.values()))
        totals, answers = self._record.totals, {}
        for config, group in groups.items():
            for request, answer in self._answering.take_journalled(config, group):
                totals.add_journalled(answer)
                answers[request.key] = self._answered(request, answer, config)
        bar = Progress(total, len(answers), totals, hidden=disable_tqdm or self.rank > 0)
        with bar as progress, keeping_answers(self._journal):
            for config, group in groups.items():
                for request, answer in self._answering.decode(config, group, progress):
                    totals.add(answer)
                    answers[request.key] = self._answered(request, answer, config)
                    progress.add_answer()
        self._record.add_routing(self._setup())
        self._record.log_warnings(self._setup())
        return [answers[key] for key in keys]

    def _answered(self, request: Request, answer: Kept[Generation], config: Any) -> str:
        text = self._text(request, answer.result, config)
        self.cache_hook.add_partial("generate_until", request.instance.args, text)
        return text
