"""Models that write and score nothing, by settings of their own kind: what their classes have in common."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, NoReturn, TypeVar

from lm_eval_codd.models.gen_kwargs import remarks_on, spell_none
from lm_eval_codd.models.generations import GenerationLM
from lm_eval_codd.names import translate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lm_eval.api.instance import Instance

    from lm_eval_codd.models.evaluation import Evaluation

S = TypeVar("S")

_KIND: Final = "name in --gen_kwargs:"


class WritingLM(GenerationLM, Generic[S]):
    """See `GenerationLM`. A subclass loads what writes, and says of which settings it is.

    Who wins: arguments of the model, then `--gen_kwargs`; a task's own temperature and the like never override them.

    Attributes:
        config: the settings of the evaluation.
        settings: their class, a dataclass.
        not_read: names beside them that `--gen_kwargs` may hold, so that `_check_given` can say what is wrong.
        always_draws: why `do_sample=False` does nothing.
        no_likelihood: why there is none, and what to ask for.
    """

    config: S
    settings: ClassVar[type[Any]]
    not_read: ClassVar[tuple[str, ...]] = ()
    always_draws: ClassVar[str]
    no_likelihood: ClassVar[str]
    _given: dict[str, Any]

    @classmethod
    def _fields(cls) -> dict[str, dataclasses.Field[Any]]:
        return {field.name: field for field in dataclasses.fields(cls.settings)}

    @classmethod
    def _arguments(cls) -> frozenset[str]:
        return frozenset({*cls._fields(), *inspect.signature(cls).parameters} - {"settings"})

    @classmethod
    def _check_given(cls, given: Mapping[str, Any]) -> None:
        """Raise `ValueError`, one line, for a name of `not_read`."""

    def _resolve_settings(self, evaluation: Evaluation) -> None:
        known = (*self._fields(), *self.not_read, "until", "do_sample")
        self._say(remarks_on(evaluation.gen_kwargs, self._given, known, always_draws=self.always_draws))
        self.config = self._resolved(evaluation)

    def _resolved(self, evaluation: Evaluation) -> S:
        fields = self._fields()
        known = (*fields, *self.not_read, "until", "do_sample")
        typed = translate(evaluation.gen_kwargs, known, kind=_KIND)[0]
        self._check_given(typed)
        asked = spell_none({name: value for name, value in typed.items() if name in fields}, fields)
        of_run = {} if evaluation.torch_seed is None else {"seed": evaluation.torch_seed}
        config: S = self.settings(**{**of_run, **asked, **self._given})
        return config

    def _draws(self, config: S) -> bool:
        return True

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> NoReturn:
        """Raise `NotImplementedError`, one line: there is none."""
        raise NotImplementedError(self.no_likelihood)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> NoReturn:
        """Raise `NotImplementedError`, one line: there is none."""
        raise NotImplementedError(self.no_likelihood)

    def _loglikelihood_tokens(self, requests: list, disable_tqdm: bool = False, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(self.no_likelihood)
