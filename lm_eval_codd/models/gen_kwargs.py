"""Who wins between `--model_args`, `--gen_kwargs`, the task, the checkpoint's own defaults and the family's.

lm-eval merges `--gen_kwargs` into every task's own `generation_kwargs` before a model sees a request, and the two are
different things here: what a user typed must be obeyed, while a task's temperature, do_sample and max_gen_toks were
written for autoregressive models and would undo the family's published settings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from lm_eval_codd.names import READ_AS, translate
from lm_eval_codd.settings import (
    ONLY_LIKELIHOODS,
    DecodingConfig,
    Family,
    LikelihoodConfig,
    facts_of,
    only_read,
    usual_decoder,
)

SETTINGS: Final = {field.name: field for field in dataclasses.fields(DecodingConfig)}
LIKELIHOOD_SETTINGS: Final = tuple(field.name for field in dataclasses.fields(LikelihoodConfig))

# Settings whose names tasks for autoregressive models use as well.
_SHARED_WITH_TASKS: Final = frozenset({"temperature", "top_p", "top_k", "seed"})
_NOTHING: Final[Mapping[str, Any]] = {}
_USUAL_LENGTH: Final = SETTINGS["gen_length"].default
_STEPS: Final = frozenset({"num_steps", "tokens_per_step"})
_KNOWN: Final = (*SETTINGS, *ONLY_LIKELIHOODS, "until", "do_sample")
_KIND: Final = "name in --gen_kwargs:"
_STOP_NAMES: Final = tuple(name for name, elsewhere in READ_AS.items() if elsewhere.here == "until")


def check_room(gen_length: Any, max_length: int) -> None:
    """Raise `ValueError` when an answer leaves no room for a prompt. What is no number is refused elsewhere."""
    if isinstance(gen_length, int) and gen_length >= max_length:
        raise ValueError(
            f"`gen_length={gen_length}` leaves no room for a prompt in `max_length={max_length}`; use a smaller "
            "gen_length"
        )


def remarks_on(
    typed: Mapping[str, Any], given: Mapping[str, Any], known: tuple[str, ...], *, always_draws: str
) -> Iterator[str]:
    """A line for each setting of --gen_kwargs that was read under another name or loses, of models without a mask.

    Args:
        typed: as the user wrote them.
        given: settings of --model_args, which win.
        known: every name that is read.
        always_draws: why `do_sample=False` does nothing.
    """
    for typed_name, typed_value in typed.items():
        translated, said = translate({typed_name: typed_value}, known, kind=_KIND)
        ((name, value),) = translated.items()
        if name in given and given[name] != value:
            yield (
                f"`{typed_name}={typed_value}` of --gen_kwargs does nothing beside `{name}={given[name]}` of "
                "--model_args, which wins"
            )
        elif name == "do_sample":
            if value is False:
                yield f"`do_sample=False` of --gen_kwargs does nothing: {always_draws}"
        else:
            yield from said


class Settings:
    """The decoding settings of a model, before it is known which request they are for.

    Args:
        family: whose published defaults fill the gaps.
        given: `--model_args` that are fields of `DecodingConfig` or of `LikelihoodConfig`.
        of_checkpoint: the checkpoint's own defaults.
        max_length: prompt and answer together, where an answer must leave room for a prompt; None: it need not.
    """

    def __init__(
        self,
        family: Family,
        given: Mapping[str, Any],
        of_checkpoint: Mapping[str, Any] = _NOTHING,
        max_length: int | None = None,
    ) -> None:
        self._family = family
        self._max_length = max_length
        self._of_likelihoods = _only_likelihoods(given)
        self._given = spell_none({name: value for name, value in given.items() if name not in ONLY_LIKELIHOODS})
        self._of_checkpoint = dict(of_checkpoint)

    def resolve(
        self, typed: Mapping[str, Any], merged: Mapping[str, Any] | None = None, *, seed: int | None = None
    ) -> DecodingConfig:
        """Settings to decode with: model_args > `--gen_kwargs` > task for diffusion models > checkpoint > family.

        Args:
            typed: what a user gave as `--gen_kwargs`. Other projects' names are understood there, and
                `do_sample=False` means temperature 0.
            merged: a request's `generation_kwargs`; its names that tasks for autoregressive models use are not read.
            seed: of the evaluation, where nobody gives one to the decode.

        Raises:
            ValueError: one line, for a name in `typed` that means nothing here, or a setting that is impossible.
        """
        of_task = {n: v for n, v in (merged or {}).items() if n in SETTINGS and n not in _SHARED_WITH_TASKS}
        asked = {**spell_none({**of_task, **_typed(typed)}), **self._given}
        # Two names of one thing: who says one of them has not the checkpoint's other.
        hidden = _STEPS if asked.keys() & _STEPS else frozenset()
        decoder = self._of_checkpoint.get("decoder", usual_decoder(self._family))
        usual = only_read(asked.get("decoder", decoder), self._of_checkpoint)
        of_checkpoint = {name: value for name, value in usual.items() if name not in hidden}
        of_run = {} if seed is None else {"seed": seed}
        settings = {**of_run, **of_checkpoint, **asked}
        if self._max_length is not None:
            # Before steps and blocks: they would ask for a multiple of what cannot be in the first place.
            check_room(settings.get("gen_length", _USUAL_LENGTH), self._max_length)
        return DecodingConfig.for_family(self._family, **settings)

    def resolve_likelihoods(self, typed: Mapping[str, Any], *, seed: int | None = None) -> LikelihoodConfig:
        """Settings of log-likelihoods: model_args > `--gen_kwargs` > checkpoint. Raises `ValueError` as `resolve`.

        What decoding and log-likelihoods share (`cfg_scale`, `seed`, a circuit's settings) is said for both.
        """
        of_run = {} if seed is None else {"seed": seed}
        shared = {**of_run, **self._of_checkpoint, **_typed(typed), **self._given}
        own = {**_only_likelihoods(_translated(typed)), **self._of_likelihoods}
        own = {name: value for name, value in own.items() if value is not None or name == "target_stderr"}
        return LikelihoodConfig(**{n: v for n, v in shared.items() if n in LIKELIHOOD_SETTINGS}, **own)

    def asks_for_greedy(self, typed: Mapping[str, Any]) -> bool | None:
        """Whether `is_greedy` was said, by model_args or `--gen_kwargs`; None where nobody did."""
        said = {**_only_likelihoods(_translated(typed)), **self._of_likelihoods}.get("is_greedy")
        return None if said is None else bool(said)

    def remarks(self, typed: Mapping[str, Any]) -> Iterator[str]:
        """A line for each typed setting that was read under another name, or that loses.

        Raises:
            ValueError: as `resolve`.
        """
        for typed_name, typed_value in typed.items():
            translated, said = translate({typed_name: typed_value}, _KNOWN, kind=_KIND)
            ((name, value),) = translated.items()
            if name == "do_sample" and value is False:
                name, value = "temperature", 0.0
            given = {**self._given, **self._of_likelihoods}
            if name in given and given[name] != value:
                yield (
                    f"`{typed_name}={typed_value}` of --gen_kwargs does nothing beside `{name}={given[name]}` of "
                    "--model_args, which wins"
                )
            else:
                yield from said
        if typed.get("do_sample") is False and typed.get("temperature"):
            yield (
                f"`temperature={typed['temperature']}` of --gen_kwargs does nothing beside `do_sample=False`, which "
                "asks for temperature 0"
            )
        config = self.resolve(typed)
        if typed.get("do_sample") and not config.temperature:
            yield "`do_sample=True` does nothing at `temperature=0`; give a temperature to draw tokens"
        if config.steps_follow_confidence:
            rule = "threshold" if config.threshold is not None else "factor"
            for name in ("num_steps", "tokens_per_step"):
                if (value := {**_typed(typed), **self._given}.get(name)) is not None:
                    yield (
                        f"`{name}={value}` does nothing beside `{rule}={getattr(config, rule):g}`, by which the "
                        "confidences say how many tokens a step commits"
                    )


def stop_strings(merged: Mapping[str, Any]) -> Any:
    """What ends an answer's text, of a request's `generation_kwargs`: `until`, or what other projects call it.

    A user's own name for it wins over the task's `until`, which it stands beside.
    """
    translated = [merged[name] for name in _STOP_NAMES if merged.get(name) is not None]
    return translated[0] if translated else merged.get("until")


def _typed(gen_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    translated = _translated(gen_kwargs)
    settings = {name: value for name, value in translated.items() if name in SETTINGS}
    if translated.get("do_sample") is False:
        settings["temperature"] = 0.0
    return settings


def _translated(gen_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return translate(gen_kwargs, _KNOWN, kind=_KIND)[0]


def _only_likelihoods(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those that decoding has not; lm-eval's word `none` is None."""
    own = {name: value for name, value in settings.items() if name in ONLY_LIKELIHOODS}
    return {name: None if str(value).lower() == "none" else value for name, value in own.items()}


def spell_none(settings: Mapping[str, Any], fields: Mapping[str, dataclasses.Field[Any]] = SETTINGS) -> dict[str, Any]:
    """Undo lm-eval's reading of `none`: None where the word is a value (`cache=none`), a word where None is meant."""
    spelled = dict(settings)
    for name, value in settings.items():
        field = fields[name]
        if value is not None and str(value).lower() != "none":
            continue
        if "none" in facts_of(field).choices:
            spelled[name] = "none"
        elif field.type.endswith("| None"):
            spelled[name] = None
    return spelled
