"""Which decoder reads which settings, and the options that are a decoder's own.

A setting that no decoder names below is read by all of them. One that the chosen decoder does not read is refused when
it differs from its default.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from lm_eval_codd.settings.fields import AT_LEAST_0, AT_LEAST_1, Range, either, setting

SELECTIONS: Final = ("confidence", "entropy", "random")
REMASK_SCHEDULES: Final = ("linear", "cosine")  # beside fixed_X


@dataclass(frozen=True, kw_only=True)
class CadOptions:
    """CAD, CD4LM's confidence-adaptive decoding (arXiv 2601.02236); the defaults are those of its published numbers.

    A step commits every position of the block whose confidence is at least `threshold`, within the two bounds.
    """

    min_per_step: int = setting(1, "CAD: fewest tokens that a step commits", range=AT_LEAST_1)
    max_per_step: int = setting(32, "CAD: most tokens that a step commits", range=AT_LEAST_1)
    eos_ratio: float = setting(
        0.3,
        "CAD: end tokens wait until this share of the answer is decided",
        range=Range(lambda v: 0 <= v <= 1, "0 to 1 (a share of the answer)"),
    )
    max_block_steps: int | None = setting(
        None, "CAD: steps of a block before one more decides the rest of it", range=AT_LEAST_0
    )
    selection: str = setting("confidence", "CAD: what positions are ranked by", choices=SELECTIONS)
    entropy_threshold: float = setting(-0.3, "CAD: the threshold of selection=entropy, on sum p log p")


KAPPAS: Final = ("linear", "sine", "geometric", "log", "poly2", "poly05")
P2_SCORES: Final = ("logp", "diff_top2", "random")
P2_FORMS: Final = ("released", "paper")


@dataclass(frozen=True, kw_only=True)
class P2Options:
    """P2, path planning (arXiv 2502.03540): `num_steps` steps, each of which may mask again what is unsure."""

    eta: float = setting(
        1.0,
        "P2: weighs the score of decided tokens (form=paper: of masked positions); at 0 none is masked again",
        range=AT_LEAST_0,
    )
    kappa: str = setting("linear", "P2: the share that is decided, by the share of the steps", choices=KAPPAS)
    score: str = setting("logp", "P2: what positions are ranked by", choices=P2_SCORES)
    form: str = setting("released", "P2: the authors' code, or equation 7 of their paper", choices=P2_FORMS)


OPEN_DLLM_VARIANTS: Final = ("p2", "p2_upgraded", "p2_upgraded_remdm")


@dataclass(frozen=True, kw_only=True)
class OpenDllmOptions:
    """Open-dLLM's samplers that mask again, in `num_steps` steps at most."""

    variant: str = setting(
        "p2",
        "Open-dLLM: positions are ranked by the token predicted now, the one that stands there, or that when written",
        choices=OPEN_DLLM_VARIANTS,
    )


@dataclass(frozen=True, kw_only=True)
class CorrectiveOptions:
    """Corrective refinement (arXiv 2512.15596): `num_steps` forwards, each of which may mask again what is unsure.

    What is unsure is said by one of `threshold` (probabilities at or below it; 0.9 where nothing is given),
    `remask_schedule` and `mad_k`.
    """

    remask_schedule: str | None = setting(
        None, "corrective: the share that each step masks again: linear, cosine or fixed_X, X from 0 to 1"
    )
    mad_k: float | None = setting(
        None,
        "corrective: what is so many standard deviations below its answer's median is masked again",
        range=AT_LEAST_0,
    )


# What each decoder reads beside that which all of them read.
DECODERS: Final[dict[str, tuple[str, ...]]] = {
    "unmasking": (
        *("alg", "num_steps", "tokens_per_step", "block_length", "paradigm", "counts", "top_p", "top_k", "alg_temp"),
        *("eps", "logits_eos_inf", "confidence_eos_eot_inf", "pc_windows", "cache", "threshold", "factor"),
    ),
    "cad": (
        *("block_length", "cache", "threshold", "compat"),
        *(field.name for field in dataclasses.fields(CadOptions)),
    ),
    "p2": ("num_steps", "compat", *(field.name for field in dataclasses.fields(P2Options))),
    "open_dllm": (
        *("num_steps", "top_p", "top_k", "compat"),
        *(field.name for field in dataclasses.fields(OpenDllmOptions)),
    ),
    "corrective": (
        *("num_steps", "top_p", "top_k", "threshold", "compat"),
        *(field.name for field in dataclasses.fields(CorrectiveOptions)),
    ),
}

# Each decoder's options that no other one has.
OPTIONS: Final[Mapping[str, type]] = {
    "cad": CadOptions,
    "p2": P2Options,
    "open_dllm": OpenDllmOptions,
    "corrective": CorrectiveOptions,
}

# Those that may mask again what they have written (`Decoder.revises`). A circuit's windows tile their answer, which is
# an extension of this project's, without a reference.
REVISING: Final = ("p2", "open_dllm", "corrective")

# Those that take a second model, which scores what the first predicts.
TAKE_PLANNERS: Final = ("p2",)


class Departure(NamedTuple):
    """What a decoder does by another method of the same aim than the authors' code.

    Attributes:
        concerns: whether a decode of these settings, which may lack defaults, does it.
        line: what is to be known of it.
    """

    concerns: Callable[[Mapping[str, Any]], bool]
    line: str


def _scores_are_tempered(settings: Mapping[str, Any]) -> bool:
    usual = P2Options()
    is_released = settings.get("form", usual.form) == "released"
    is_random = settings.get("score", usual.score) == "random"
    return is_released and not is_random and settings.get("temperature", 0.0) > 0


DEPARTURES: Final[Mapping[str, tuple[Departure, ...]]] = {
    "p2": (
        Departure(
            _scores_are_tempered,
            "p2 scores the tempered distribution, where the released code scores noised logits",
        ),
    ),
}

# Where a decoder has a default or a range of its own for a setting that it shares.
OWN_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "cad": {"threshold": 0.95},
    "corrective": {"threshold": 0.9},
}
OWN_RANGES: Final[Mapping[str, Mapping[str, Range]]] = {
    "cad": {"threshold": AT_LEAST_0},
    "corrective": {"threshold": AT_LEAST_0},
}
# Settings of which a decoder takes one; the others are None.
ONE_OF: Final[Mapping[str, tuple[str, ...]]] = {"corrective": ("threshold", "remask_schedule", "mad_k")}


def own_defaults(decoder: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """`OWN_DEFAULTS`, but for those in whose place another setting (`ONE_OF`) is given."""
    one_of = ONE_OF.get(decoder, ())
    return {
        name: default
        for name, default in OWN_DEFAULTS.get(decoder, {}).items()
        if not (name in one_of and any(settings.get(other) is not None for other in one_of if other != name))
    }


def reads(decoder: str, name: str) -> bool:
    """Whether a decoder reads a setting."""
    return name in DECODERS[decoder] or not any(name in names for names in DECODERS.values())


def only_read(decoder: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that the decoder reads; all of them for a decoder that is unknown."""
    return {name: value for name, value in settings.items() if decoder not in DECODERS or reads(decoder, name)}


def checked_schedule(value: str) -> str:
    """A `remask_schedule` in its one spelling.

    Raises:
        ValueError: it is none.
    """
    if value in REMASK_SCHEDULES:
        return value
    word, _, share = value.partition("_")
    with contextlib.suppress(ValueError):
        if word == "fixed" and 0 <= float(share) <= 1:
            return f"fixed_{abs(float(share))}"
    allowed = (*REMASK_SCHEDULES, "fixed_X with X from 0 to 1")
    raise ValueError(f"`remask_schedule={value}` is not known; use {either(allowed)}")
