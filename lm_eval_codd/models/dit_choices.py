"""Who wins between `--model_args`, `--gen_kwargs` and a task, for a model of the DiT family."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from lm_eval_codd.models.gen_kwargs import remarks_on, spell_none
from lm_eval_codd.names import translate
from lm_eval_codd.settings import DiTSettings

DIT_SETTINGS: Final = {field.name: field for field in dataclasses.fields(DiTSettings)}
_KNOWN: Final = (*DIT_SETTINGS, "until", "do_sample")
_KIND: Final = "name in --gen_kwargs:"


class DiTChoices:
    """The settings of a model, before it is known which request they are for.

    Args:
        algo: of the checkpoint.
        given: `--model_args` that are fields of `DiTSettings`.
        coupled: whether there is a circuit.
    """

    def __init__(self, algo: str, given: Mapping[str, Any], *, coupled: bool) -> None:
        self._algo, self._coupled, self._given = algo, coupled, spell_none(given, DIT_SETTINGS)

    def resolve(
        self, typed: Mapping[str, Any], merged: Mapping[str, Any] | None = None, *, seed: int | None = None
    ) -> DiTSettings:
        """Settings to answer with: model_args > `--gen_kwargs` > the task > the algorithm's usual ones.

        Args:
            typed: what a user gave as `--gen_kwargs`. Other projects' names are understood there.
            merged: a request's `generation_kwargs`; its seed, which tasks of other models have too, is not read.
            seed: of the evaluation, where nobody gives one.

        Raises:
            ValueError: one line, for a name in `typed` that means nothing here, or a setting that is impossible.
        """
        of_task = {name: value for name, value in (merged or {}).items() if name in DIT_SETTINGS and name != "seed"}
        asked = spell_none({**of_task, **_settings(_translated(typed))}, DIT_SETTINGS)
        of_run = {} if seed is None else {"seed": seed}
        return DiTSettings.for_algo(self._algo, coupled=self._coupled, **{**of_run, **asked, **self._given})

    def asks_for_greedy(self, typed: Mapping[str, Any]) -> bool | None:
        """Whether `is_greedy` was said, by model_args or `--gen_kwargs`; None where nobody did."""
        said = {**_translated(typed), **self._given}.get("is_greedy")
        return None if said is None else bool(said)

    def remarks(self, typed: Mapping[str, Any]) -> Iterator[str]:
        """A line for each typed setting that was read under another name, or that loses.

        Raises:
            ValueError: as `resolve`.
        """
        return remarks_on(typed, self._given, _KNOWN, always_draws="this family has samples alone")


def _translated(gen_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return translate(gen_kwargs, _KNOWN, kind=_KIND)[0]


def _settings(translated: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in translated.items() if name in DIT_SETTINGS}
