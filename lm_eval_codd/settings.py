"""Settings of a decode: names, defaults of each family, and what is allowed.

Everything here is checked when a `DecodingConfig` is built, before a checkpoint is opened, so that an impossible
setting costs a user one line and no download. Nothing here imports torch: the launcher checks its runs with it too.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from lm_eval_codd.names import check_names, explains_unknown_names

Family = Literal["llada", "dream"]
FAMILIES: Final[tuple[Family, ...]] = get_args(Family)

ALGS: Final = ("low_confidence", "topprob", "margin", "entropy", "random")
ALG_ALIASES: Final[Mapping[str, str]] = {
    "maskgit_plus": "low_confidence",
    "topk_margin": "margin",
    "origin": "random",
}
# Those whose confidence is a probability, or a difference of two: what `threshold` and `factor` are compared with.
CONFIDENCE_ALGS: Final = ("low_confidence", "margin", "topprob")
PARADIGMS: Final = ("block", "full")
PC_SAMPLING: Final = ("latent", "any_order", "marginal", "map")
PC_WINDOWS: Final = ("best", "cover")
CACHES: Final = ("none", "prefix", "dual")

DEFAULT_NUM_STEPS: Final = 256

FAMILY_DEFAULTS: Final[Mapping[Family, Mapping[str, Any]]] = {
    "llada": {},
    # What CoDD's harness really ran (top_k=50 was slipped in by transformers 4.x, and the published numbers have it).
    "dream": {"paradigm": "full", "alg": "entropy", "temperature": 0.2, "top_p": 0.95, "top_k": 50},
}


@explains_unknown_names("setting")
@dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """Every setting that can change which tokens come out. Frozen, validated at construction, written into results.

    Args:
        alg: remasking rule, which masked positions a step commits first: `low_confidence` (alias `maskgit_plus`),
            `topprob`, `margin` (`topk_margin`), `entropy` or `random` (`origin`). `topprob` is `low_confidence` but in
            a circuit's best windows, where it ranks by the largest untempered, untruncated probability, as officially.
        num_steps: denoising steps for the whole answer. None: `gen_length / tokens_per_step` when that is given,
            else 256. Not read with `threshold` or `factor`.
        tokens_per_step: the same said the other way; must agree with `num_steps` when both are given.
        gen_length: tokens to decode.
        block_length: length of a semi-autoregressive block; read by the block paradigm, and by both with a `cache`.
        paradigm: `block` (LLaDA: blocks left to right, a fixed number of tokens each step) or `full` (Dream: the whole
            canvas, on a time grid). With a `cache` both go block by block, and the paradigm says how many tokens a
            step of a block commits: `full` by the time grid, stretched over the block; `block` by LLaDA's fixed
            numbers for LLaDA, by that grid for Dream (as Fast-dLLM does).
        temperature: 0 takes the most likely token; otherwise tokens are drawn at this temperature.
        top_p: nucleus in (0, 1]; None or 1 is off.
        top_k: number of most likely tokens kept; None or 0 is off.
        alg_temp: temperature of the remasking rule itself (Dream): positions are drawn without replacement from
            softmax(confidence / alg_temp). None or 0 takes the most confident.
        eps: where the time grid ends.
        cfg_scale: classifier-free guidance, logits = u + (cfg_scale + 1)(c - u); 0 is off.
        seed: of the random draws; each row has its own stream, made from the seed and its prompt.
        stop_at_eos: an answer ends at its first end token and what follows is filled with eos. False leaves the
            canvas as it was decoded, as the official code does.
        logits_eos_inf: the eos token can never be chosen (LLaDA).
        confidence_eos_eot_inf: end tokens may be chosen, but get no confidence, so they are committed last (LLaDA).
        mask_id, eos_id, eot_id: override the checkpoint's ids.
        pc_temperature: divides the backbone's logits before they become evidence for the circuit, 0 < tau <= 1.
        pc_frac: the circuit acts where the share of masked positions in the block or window is strictly below this.
        reverse_frac: it acts where the share is strictly above `pc_frac` instead.
        pc_sampling: how tokens come out of the coupled distribution: `latent`, `any_order`, `marginal` or `map`. At a
            temperature above 0, `any_order` draws from the joint only where `alg` does not look at the tokens drawn
            (`random`): with `low_confidence` those that turn out likely are committed first.
        pc_windows: windows of the full paradigm: `best` (the official single window) or `cover` (the paper's).
        cache: `none`; or approximate keys and values, kept from the full pass at the start of a block (Fast-dLLM):
            `prefix` reuses those before the block, `dual` those after it as well.
        threshold: confidence-aware parallel decoding (Fast-dLLM): each step commits every position whose confidence is
            at or above it, at least the surest one, and a block ends when it is full. 0 < threshold <= 1.
        factor: the same with a bound that falls with the number: the surest n positions are committed while the n-th
            confidence is at least 1 - factor / (n + 1), at least the surest one. Not together with `threshold`.

    Raises:
        ValueError: one line with the argument, its value, what is allowed and what to do.
    """

    alg: str = "low_confidence"
    num_steps: int | None = None
    tokens_per_step: int | None = None
    gen_length: int = 512
    block_length: int = 32
    paradigm: str = "block"
    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    alg_temp: float | None = None
    eps: float = 1e-3
    cfg_scale: float = 0.0
    seed: int = 1234
    stop_at_eos: bool = True
    logits_eos_inf: bool = False
    confidence_eos_eot_inf: bool = False
    mask_id: int | None = None
    eos_id: int | None = None
    eot_id: int | None = None
    pc_temperature: float = 0.7
    pc_frac: float = 0.3
    reverse_frac: bool = False
    pc_sampling: str = "latent"
    pc_windows: str = "best"
    cache: str = "none"
    threshold: float | None = None
    factor: float | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            _check_type(field.name, value, field.type)
            # Plain numbers, one spelling each: 0 is 0.0, and NumPy's become Python's.
            if value is not None and (kind := {"int": int, "float": float}.get(field.type.split(" ")[0])):
                self._set(field.name, kind(value))
        self._set("alg", ALG_ALIASES.get(self.alg, self.alg))
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(unknown_value(name, getattr(self, name), allowed))
        for name, (is_allowed, allowed) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and is_allowed(value)):
                raise ValueError(f"`{name}={value:g}` is out of range; it must be {allowed}")
        # One spelling of "off", so that two runs that decode alike also have the same settings.
        for name, off in (("top_p", 1), ("top_k", 0), ("alg_temp", 0)):
            if getattr(self, name) == off:
                self._set(name, None)
        self._refuse_approximations_that_cannot_be()
        self._resolve_steps()

    @property
    def goes_by_blocks(self) -> bool:
        """Whether the answer is decoded block by block: the block paradigm, and either one with a cache."""
        return self.paradigm == "block" or self.cache != "none"

    @property
    def num_blocks(self) -> int:
        """Blocks of the answer, where it `goes_by_blocks`."""
        return self.gen_length // self.block_length

    @property
    def steps_follow_confidence(self) -> bool:
        """Whether the confidences say how many tokens a step commits (`threshold`, `factor`), not `num_steps`."""
        return steps_follow_confidence(vars(self))

    def tells_topprob_apart(self, *, coupled: bool) -> bool:
        """Whether `topprob` and `low_confidence` may decode differently, with a circuit (`coupled`) or without.

        They rank by the same number where candidates are the most likely tokens of the whole vocabulary.
        """
        is_plain = self.temperature == 0 and self.top_p is None and self.top_k is None
        return coupled and not self.goes_by_blocks and self.pc_windows == "best" and not is_plain

    @property
    def approximations(self) -> tuple[str, ...]:
        """What sets the answers apart from an exact decode of a fixed schedule, as `cache=dual`; empty when nothing."""
        return approximations_of(vars(self))

    @classmethod
    def for_family(cls, family: Family, **given: Any) -> DecodingConfig:
        """The family's published defaults, overridden by what is given. Unknown names raise with the nearest one."""
        check_names(given, (field.name for field in dataclasses.fields(cls)), kind="setting")
        return cls(**{**FAMILY_DEFAULTS[family], **given})

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _resolve_steps(self) -> None:
        if self.tokens_per_step is not None:
            if self.gen_length % self.tokens_per_step:
                raise ValueError(
                    f"`tokens_per_step={self.tokens_per_step}` does not divide `gen_length={self.gen_length}`; "
                    f"use {_either(_nearest_divisors(self.tokens_per_step, self.gen_length))}"
                )
            implied = self.gen_length // self.tokens_per_step
            if self.num_steps not in (None, implied):
                raise ValueError(
                    f"`num_steps={self.num_steps}` disagrees with `tokens_per_step={self.tokens_per_step}` at "
                    f"`gen_length={self.gen_length}`; use num_steps={implied}, or give only one of the two"
                )
            self._set("num_steps", implied)
        elif self.num_steps is None:
            self._set("num_steps", DEFAULT_NUM_STEPS)
        if not self.goes_by_blocks:
            return
        if self.gen_length % self.block_length:
            lengths = _nearest_multiples(self.gen_length, self.block_length)
            raise ValueError(
                f"`gen_length={self.gen_length}` cannot be cut into blocks of `block_length={self.block_length}`; "
                f"use a gen_length of {_either(lengths)}, or another block_length"
            )
        if self.num_steps % self.num_blocks and not self.steps_follow_confidence:
            steps = _nearest_multiples(self.num_steps, self.num_blocks)
            raise ValueError(
                f"`num_steps={self.num_steps}` cannot be split over {self.num_blocks} blocks of {self.block_length}; "
                f"use a multiple of {self.num_blocks} ({_either(steps)})"
            )

    def _refuse_approximations_that_cannot_be(self) -> None:
        cache = f"`cache={self.cache}`" if self.cache != "none" else ""
        if cache and self.cfg_scale:
            raise ValueError(
                f"{cache} does not go with guidance (`cfg_scale={self.cfg_scale:g}`); leave out one of them"
            )
        if cache and self.paradigm == "full" and self.alg == "random":
            raise ValueError(
                f"{cache} does not go with `alg=random` in the full paradigm, whose numbers are drawn over the whole "
                f"canvas; use paradigm=block, or alg=low_confidence, margin or entropy"
            )
        rules = [f"`{name}={getattr(self, name):g}`" for name in ("threshold", "factor") if getattr(self, name)]
        if len(rules) == 2:
            raise ValueError(f"{' and '.join(rules)} both say how many tokens a step commits; leave out one of them")
        if rules and self.alg not in CONFIDENCE_ALGS:
            raise ValueError(
                f"{rules[0]} is compared with a probability, and `alg={self.alg}` orders positions by something else; "
                f"set alg={_either(CONFIDENCE_ALGS)}"
            )
        if rules and self.alg_temp is not None:
            raise ValueError(
                f"{rules[0]} does not go with `alg_temp={self.alg_temp:g}`, which draws positions at random; "
                f"leave out one of them"
            )


def approximations_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """`DecodingConfig.approximations` of settings as plain data, such as those in a result."""
    given = {name: value for name, off in _EXACT.items() if (value := settings.get(name, off)) != off}
    return tuple(f"{name}={value if name == 'cache' else f'{value:.10g}'}" for name, value in given.items())


def steps_follow_confidence(settings: Mapping[str, Any]) -> bool:
    """`DecodingConfig.steps_follow_confidence` of settings as plain data."""
    return settings.get("threshold") is not None or settings.get("factor") is not None


# What an exact decode has of the settings that approximate one.
_EXACT: Final[Mapping[str, Any]] = {"cache": "none", "threshold": None, "factor": None}

_CHOICES: Final = {
    "alg": ALGS,
    "paradigm": PARADIGMS,
    "pc_sampling": PC_SAMPLING,
    "pc_windows": PC_WINDOWS,
    "cache": CACHES,
}

_AT_LEAST_1: Final = (lambda v: v >= 1, "at least 1")
_AT_LEAST_0: Final = (lambda v: v >= 0, "0 or more")
_RANGES: Final = {
    "num_steps": _AT_LEAST_1,
    "tokens_per_step": _AT_LEAST_1,
    "gen_length": _AT_LEAST_1,
    "block_length": _AT_LEAST_1,
    "temperature": _AT_LEAST_0,
    "top_p": (lambda v: 0 < v <= 1, "above 0 and at most 1 (1 is off)"),
    "top_k": (lambda v: v >= 0, "1 or more (0 is off)"),
    "alg_temp": _AT_LEAST_0,
    "eps": (lambda v: 0 < v < 1, "above 0 and below 1"),
    "cfg_scale": _AT_LEAST_0,
    "seed": _AT_LEAST_0,
    "mask_id": _AT_LEAST_0,
    "eos_id": _AT_LEAST_0,
    "eot_id": _AT_LEAST_0,
    "pc_temperature": (lambda v: 0 < v <= 1, "above 0 and at most 1 (1 leaves the logits as they are)"),
    "pc_frac": (lambda v: 0 <= v <= 2, "0 to 2 (a mask ratio: 0 never fires, above 1 always does)"),
    "threshold": (lambda v: 0 < v <= 1, "above 0 and at most 1 (a confidence)"),
    "factor": (lambda v: v > 0, "above 0"),
}


def unknown_value(name: str, value: object, allowed: Iterable[str]) -> str:
    """One line: this value is not allowed for `name`, these are."""
    allowed = list(allowed)
    near = difflib.get_close_matches(str(value), allowed, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"`{name}={value}` is not known; use one of {', '.join(allowed)}{hint}"


def _check_type(name: str, value: object, annotation: str) -> None:
    wanted, _, optional = annotation.partition(" | ")
    if value is None and optional:
        return
    # bool is an int in Python, so `num_steps=True` would pass as 1.
    if wanted == "bool":
        fits = isinstance(value, bool)
    elif wanted == "str":
        fits = isinstance(value, str)
    elif wanted == "int":
        fits = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    else:
        fits = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not fits:
        noun = {"int": "a whole number", "float": "a number", "bool": "True or False", "str": "a word"}[wanted]
        if name in _CHOICES:  # as `cache=True`
            noun = f"one of {', '.join(_CHOICES[name])}"
        raise ValueError(f"`{name}={value!r}` must be {noun}{' or None' if optional else ''}")


def _nearest_multiples(value: int, of: int) -> list[int]:
    below = value // of * of
    return [n for n in (below, below + of) if n > 0]


def _nearest_divisors(value: int, of: int) -> list[int]:
    divisors = [n for n in range(1, of + 1) if of % n == 0]
    below = max(n for n in divisors if n <= value or n == 1)
    above = min((n for n in divisors if n >= value), default=of)
    return sorted({below, above})


def _either(options: Iterable[object]) -> str:
    return " or ".join(str(option) for option in options)
