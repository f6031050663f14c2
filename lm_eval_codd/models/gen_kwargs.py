"""Who wins between `--model_args`, `--gen_kwargs`, the task, the checkpoint's own defaults and the family's.

lm-eval merges `--gen_kwargs` into every task's own `generation_kwargs` before a model sees a request, and the two are
different things here: what a user typed must be obeyed, while a task's temperature, do_sample and max_gen_toks were
written for autoregressive models and would undo the family's published settings. The merged dictionary does not say
where a value came from, so `typed_gen_kwargs` reads it where it still stands apart: in the running `simple_evaluate`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any, Final

from lm_eval_codd.names import check_names
from lm_eval_codd.settings import DecodingConfig, Family

SETTINGS: Final = {field.name: field for field in dataclasses.fields(DecodingConfig)}

# Settings whose names tasks for autoregressive models use as well.
_SHARED_WITH_TASKS: Final = frozenset({"temperature", "top_p", "top_k", "seed"})
_NOTHING: Final[Mapping[str, Any]] = {}
_STEPS: Final = frozenset({"num_steps", "tokens_per_step"})
_LENGTHS: Final = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


class Settings:
    """The decoding settings of a model, before it is known which request they are for.

    Args:
        family: whose published defaults fill the gaps.
        given: `--model_args` that are fields of `DecodingConfig`.
        of_checkpoint: the checkpoint's own defaults.
    """

    def __init__(self, family: Family, given: Mapping[str, Any], of_checkpoint: Mapping[str, Any] = _NOTHING) -> None:
        self._family = family
        self._given = _spell_none(given)
        self._of_checkpoint = dict(of_checkpoint)

    def resolve(self, typed: Mapping[str, Any], merged: Mapping[str, Any] | None = None) -> DecodingConfig:
        """Settings to decode with: model_args > `--gen_kwargs` > task for diffusion models > checkpoint > family.

        Args:
            typed: what a user gave as `--gen_kwargs`. lm-eval's own names are understood there: `max_gen_toks` and its
                aliases mean `gen_length`, `do_sample=False` means temperature 0.
            merged: a request's `generation_kwargs`; its names that tasks for autoregressive models use are not read.

        Raises:
            ValueError: one line, for a name in `typed` that means nothing here, or a setting that is impossible.
        """
        of_task = {n: v for n, v in (merged or {}).items() if n in SETTINGS and n not in _SHARED_WITH_TASKS}
        asked = {**_spell_none({**of_task, **_typed(typed)}), **self._given}
        # Two names of one thing: who says one of them has not the checkpoint's other.
        hidden = _STEPS if asked.keys() & _STEPS else frozenset()
        of_checkpoint = {name: value for name, value in self._of_checkpoint.items() if name not in hidden}
        return DecodingConfig.for_family(self._family, **{**of_checkpoint, **asked})


def typed_gen_kwargs() -> dict[str, Any]:
    """The `--gen_kwargs` of the `simple_evaluate` call that this code runs in; empty outside of one."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "simple_evaluate" and frame.f_globals.get("__name__") == "lm_eval.evaluator":
            return dict(frame.f_locals["gen_kwargs"] or {})
        frame = frame.f_back
    return {}


def _typed(gen_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    check_names(gen_kwargs, [*SETTINGS, *_LENGTHS, "until", "do_sample"], kind="name in --gen_kwargs:")
    settings = {name: value for name, value in gen_kwargs.items() if name in SETTINGS}
    for name in _LENGTHS:
        if name in gen_kwargs:
            settings.setdefault("gen_length", gen_kwargs[name])
    if gen_kwargs.get("do_sample") is False:
        settings["temperature"] = 0.0
    return settings


def _spell_none(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Undo lm-eval's reading of `none`: None where the word is a value (`cache=none`), a word where None is meant."""
    spelled = dict(settings)
    for name, value in settings.items():
        field = SETTINGS[name]
        if value is not None and str(value).lower() != "none":
            continue
        if field.default == "none":
            spelled[name] = "none"
        elif field.type.endswith("| None"):
            spelled[name] = None
    return spelled
