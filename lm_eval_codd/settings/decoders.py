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
from lm_eval_codd.settings.routing import ROUTER_SETTINGS

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


@dataclass(frozen=True, kw_only=True)
class KlassOptions:
    """KLASS, KL-adaptive stability sampling (arXiv 2511.05664); the defaults are those of its code.

    A step commits every position of the block that is surer than `threshold` and whose distribution has moved by less
    than `kl_threshold` in each of its last `history_length` steps.
    """

    kl_threshold: float = setting(
        0.01,
        "KLASS: a distribution is stable whose KL divergence from the step before is below it",
        range=Range(lambda v: v > 0, "above 0 (nats)"),
    )
    history_length: int = setting(2, "KLASS: steps in a row that it must be so", range=AT_LEAST_1)


ERROR_PROXIES: Final = ("confidence", "entropy", "margin")


@dataclass(frozen=True, kw_only=True)
class EbOptions:
    """EB-Sampler, entropy-bounded unmasking (arXiv 2505.24857). Its bound has no published default.

    A step commits the surest positions of the block whose entropies' sum, less the largest, is `gamma` at most.
    """

    gamma: float = setting(
        0.1,
        "EB: bound on the sum of the entropies of what a step commits, less the largest (nats; 0.1 is this project's)",
        range=AT_LEAST_0,
    )
    error_proxy: str = setting("confidence", "EB: what positions are ranked by", choices=ERROR_PROXIES)


@dataclass(frozen=True, kw_only=True)
class WinoOptions:
    """WINO, wide in and narrow out (arXiv 2507.18578); the defaults are those of its code.

    A step writes every masked position of the block that is surer than `threshold`, and masks again what of the block
    is less probable than `threshold_back` when its own token is not seen.
    """

    threshold_back: float = setting(
        0.9, "WINO: what of the block is less probable than this without itself is masked again", range=AT_LEAST_0
    )


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


RULES: Final = ("sdar", "sdar_greedy", "llada2", "llada21", "fast_dllm_v2", "bd3lm")
REMASKS: Final = ("dynamic", "static", "sequential")


@dataclass(frozen=True, kw_only=True)
class BlockOptions:
    """Block diffusion: blocks from left to right, of which the finished ones never change and are computed once.

    `num_steps` are those of a block here, `block_length` of them by default. An option that is None is the rule's own
    (`RULE_DEFAULTS`).
    """

    rule: str | None = setting(
        None, "block_diffusion: whose rule of a block is followed; the family's by default", choices=RULES
    )
    minimal_per_step: int = setting(
        1, "block_diffusion, llada2: a block has no more steps than gen_length / minimal_per_step", range=AT_LEAST_1
    )
    editing_threshold: float | None = setting(
        None,
        "block_diffusion, llada21: a token of the block is replaced where another one is surer than this; 0.9",
        range=Range(lambda v: 0 <= v <= 1, "0 to 1 (a confidence; at 1 nothing is replaced)"),
    )
    max_post_steps: int | None = setting(
        None, "block_diffusion, llada21: steps that a full block may be edited in; 16", range=AT_LEAST_0
    )
    small_block_length: int | None = setting(
        None,
        "block_diffusion, fast_dllm_v2: length of the parts that a block is filled by, left to right; 8",
        range=AT_LEAST_1,
    )
    remask: str | None = setting(
        None,
        "block_diffusion, sdar and sdar_greedy: a step commits all that are surer than the threshold (dynamic), as "
        "many as the steps say (static), or those from the left (sequential)",
        choices=REMASKS,
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
    "klass": (
        *("num_steps", "tokens_per_step", "block_length", "paradigm", "top_p", "top_k", "threshold"),
        *(field.name for field in dataclasses.fields(KlassOptions)),
    ),
    "eb": ("block_length", "paradigm", "top_p", "top_k", *(field.name for field in dataclasses.fields(EbOptions))),
    "wino": ("block_length", "threshold", *(field.name for field in dataclasses.fields(WinoOptions))),
    "p2": ("num_steps", "compat", *(field.name for field in dataclasses.fields(P2Options))),
    "open_dllm": (
        *("num_steps", "top_p", "top_k", "compat"),
        *(field.name for field in dataclasses.fields(OpenDllmOptions)),
    ),
    "corrective": (
        *("num_steps", "top_p", "top_k", "threshold", "compat"),
        *(field.name for field in dataclasses.fields(CorrectiveOptions)),
    ),
    "block_diffusion": (
        *("num_steps", "block_length", "top_p", "top_k", "threshold", "cache"),
        *(field.name for field in dataclasses.fields(BlockOptions)),
    ),
}

# What one decoder alone does not read. Its second copy of a block would compete with the block for experts.
UNREAD: Final[Mapping[str, tuple[str, ...]]] = {"wino": (*ROUTER_SETTINGS, "cfg_scale")}

# Each decoder's options that no other one has.
OPTIONS: Final[Mapping[str, type]] = {
    "cad": CadOptions,
    "klass": KlassOptions,
    "eb": EbOptions,
    "wino": WinoOptions,
    "p2": P2Options,
    "open_dllm": OpenDllmOptions,
    "corrective": CorrectiveOptions,
    "block_diffusion": BlockOptions,
}

# Those that may mask again what they have written (`Decoder.revises`), in the block that they are in or anywhere. In
# the second case a circuit's windows tile the answer, which is an extension of this project's, without a reference.
REVISING: Final = ("wino", "p2", "open_dllm", "corrective")
TILED: Final = ("p2", "open_dllm", "corrective")

# Those that no circuit goes with: coupled logits of one step are no distribution to hold the next step's against, and
# no verdict of the backbone's on what was written; a bound on what independent draws lose means nothing for joint ones.
TAKE_NO_CIRCUIT: Final = ("klass", "eb", "wino")

# Of the block decoder's settings, those that each rule reads beside `rule` and `block_length`.
READ_BY_RULE: Final[Mapping[str, tuple[str, ...]]] = {
    "sdar": ("num_steps", "threshold", "temperature", "top_k", "top_p", "remask"),
    "sdar_greedy": ("num_steps", "threshold", "remask"),
    "llada2": ("num_steps", "threshold", "temperature", "top_k", "top_p", "minimal_per_step"),
    "llada21": ("threshold", "temperature", "top_k", "top_p", "editing_threshold", "max_post_steps"),
    "fast_dllm_v2": ("threshold", "temperature", "top_p", "small_block_length", "cache"),
    "bd3lm": ("num_steps", "temperature"),
}
# Where a rule has a default for a setting that is None; those of the authors' evaluations.
RULE_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "sdar": {"remask": "dynamic", "threshold": 0.85},
    "sdar_greedy": {"remask": "dynamic", "threshold": 0.85},
    "llada2": {"threshold": 0.95},
    "llada21": {"threshold": 0.95, "editing_threshold": 0.9, "max_post_steps": 16},
    "fast_dllm_v2": {"threshold": 0.9, "small_block_length": 8},
}

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


def _is_truly_greedy(settings: Mapping[str, Any]) -> bool:
    return settings.get("rule") in ("sdar", "sdar_greedy") and settings.get("temperature", 0.0) == 0


def _may_run_out_of_steps(settings: Mapping[str, Any]) -> bool:
    num_steps, gen_length = settings.get("num_steps"), settings.get("gen_length")
    return num_steps is not None and gen_length is not None and num_steps < gen_length


DEPARTURES: Final[Mapping[str, tuple[Departure, ...]]] = {
    "block_diffusion": (
        Departure(
            _is_truly_greedy,
            "sdar at temperature 0 (sdar_greedy) is as sure as the whole distribution is, where its authors' greedy "
            "(temperature=1, top_k=1) is sure of every token",
        ),
    ),
    "klass": (
        Departure(
            _may_run_out_of_steps,
            "klass commits what is left of a block in its last step, where the authors' code leaves masks",
        ),
    ),
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
    "klass": {"threshold": 0.9},
    "wino": {"threshold": 0.6},
    "corrective": {"threshold": 0.9},
}
OWN_RANGES: Final[Mapping[str, Mapping[str, Range]]] = {
    "cad": {"threshold": AT_LEAST_0},
    "klass": {"threshold": AT_LEAST_0},
    "wino": {"threshold": AT_LEAST_0},
    "corrective": {"threshold": AT_LEAST_0},
}
# Settings of which a decoder takes one; the others are None.
ONE_OF: Final[Mapping[str, tuple[str, ...]]] = {"corrective": ("threshold", "remask_schedule", "mad_k")}


def own_defaults(decoder: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """`OWN_DEFAULTS`, but for those in whose place another setting (`ONE_OF`) is given; of a rule, `RULE_DEFAULTS`."""
    if decoder == "block_diffusion":
        of_rule = dict(RULE_DEFAULTS.get(settings.get("rule") or "", {}))
        if settings.get("remask") not in (None, "dynamic"):  # what is not dynamic has no threshold
            of_rule.pop("threshold", None)
        return of_rule
    one_of = ONE_OF.get(decoder, ())
    return {
        name: default
        for name, default in OWN_DEFAULTS.get(decoder, {}).items()
        if not (name in one_of and any(settings.get(other) is not None for other in one_of if other != name))
    }


def reads(decoder: str, name: str) -> bool:
    """Whether a decoder reads a setting."""
    if name in UNREAD.get(decoder, ()):
        return False
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
