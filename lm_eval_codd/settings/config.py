"""`DecodingConfig`: every setting of a decode, the families' defaults, and what cannot go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from lm_eval_codd.names import check_names, explains_unknown_names
from lm_eval_codd.settings.decoders import (
    DECODERS,
    ONE_OF,
    OWN_DEFAULTS,
    OWN_RANGES,
    REVISING,
    CadOptions,
    CorrectiveOptions,
    OpenDllmOptions,
    P2Options,
    checked_schedule,
    only_read,
    own_defaults,
    reads,
)
from lm_eval_codd.settings.fields import (
    AT_LEAST_0,
    AT_LEAST_1,
    Range,
    checked,
    either,
    facts_of,
    setting,
    unknown_value,
)

Family = Literal["llada", "dream", "a2d", "open_dllm"]
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
COUNTS: Final = ("even", "rounded")

DEFAULT_NUM_STEPS: Final = 256

FAMILY_DEFAULTS: Final[Mapping[Family, Mapping[str, Any]]] = {
    "llada": {},
    # What CoDD's harness really ran (top_k=50 was slipped in by transformers 4.x, and the published numbers have it).
    "dream": {"paradigm": "full", "alg": "entropy", "temperature": 0.2, "top_p": 0.95, "top_k": 50},
    "a2d": {"counts": "rounded"},
    "open_dllm": {"paradigm": "full", "alg": "entropy"},
}

# Families whose confidences are of the distribution that tokens are drawn from; of all others, the untempered one.
SCORE_WHAT_IS_DRAWN: Final = ("dream", "open_dllm")
# Families whose logits at a position are computed one position earlier.
SHIFTED: Final = ("dream", "open_dllm")


@explains_unknown_names("setting")
@dataclass(frozen=True, kw_only=True)
class DecodingConfig(CadOptions, P2Options, OpenDllmOptions, CorrectiveOptions):
    """Every setting that can change which tokens come out. Frozen, validated at construction, written into results.

    A setting that the decoder does not read (`settings.decoders`) is refused when it differs from its default.

    Args:
        decoder: `unmasking` (LLaDA's, Dream's and Fast-dLLM's: steps commit the surest masked positions), `cad`, `p2`,
            `open_dllm` or `corrective`.
        alg: remasking rule, which masked positions a step commits first: `low_confidence` (alias `maskgit_plus`),
            `topprob`, `margin` (`topk_margin`), `entropy` or `random` (`origin`). `topprob` is `low_confidence` but in
            a circuit's best windows, where it ranks by the largest untempered, untruncated probability, as officially.
        num_steps: denoising steps for the whole answer. None: `gen_length / tokens_per_step` when that is given,
            else 256. Not read with `threshold` or `factor`.
        tokens_per_step: the same said the other way; must agree with `num_steps` when both are given.
        gen_length: tokens to decode.
        block_length: length of a semi-autoregressive block; read by the block paradigm, and by both with a `cache`.
        counts: how many tokens each step of a block commits: `even` (LLaDA's table, `num_steps` must divide over the
            blocks) or `rounded` (dLLM's: the rounded share of what is left, masks of earlier blocks compete, and
            neither `num_steps` nor `gen_length` need divide). None: `rounded` for A2D checkpoints, `even` for others;
            so whether they divide is checked where the family is known (`for_family`, `generate`).
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
        pc_windows: windows of the full paradigm: `best` (the official single window) or `cover` (the paper's). Of
            decoders that mask again, windows tile the answer (an extension without a reference).
        cache: `none`; or approximate keys and values, kept from the full pass at the start of a block (Fast-dLLM):
            `prefix` reuses those before the block, `dual` those after it as well.
        threshold: confidence-aware parallel decoding (Fast-dLLM): each step commits every position whose confidence is
            at or above it, at least the surest one, and a block ends when it is full. 0 < threshold <= 1; None is off.
            `cad` has its own: 0.95 by default, 0 or more. `corrective` masks again what is at or below it: 0.9 by
            default, 0 or more, and one of it, `remask_schedule` and `mad_k`.
        factor: the same with a bound that falls with the number: the surest n positions are committed while the n-th
            confidence is at least 1 - factor / (n + 1), at least the surest one. Not together with `threshold`.
        compat: what the official code does where it is plainly a bug (`cad`: the end ids of four checkpoints at once; a
            forced step leaves blocked positions masked; logits that are not finite become 0; the mask may be chosen).
        **options: of one decoder, see `CadOptions` and its like in `settings.decoders`.

    Raises:
        ValueError: one line with the argument, its value, what is allowed and what to do.
    """

    decoder: str = setting(
        "unmasking",
        "what a step writes: unmasking, the surest positions; cad, all that are sure; p2 and open_dllm, what is sure, "
        "and the mask where a token is not; corrective, every mask, and the mask where a token is unsure",
        is_axis=True,
    )
    alg: str = setting(
        "low_confidence",
        "remasking rule, which masked positions a step commits first; the names of the official code are read too",
        choices=ALGS,
        is_axis=True,
    )
    num_steps: int | None = setting(None, "denoising steps of an answer", range=AT_LEAST_1, is_axis=True)
    tokens_per_step: int | None = setting(
        None, "the same said the other way: num_steps = gen_length / tokens_per_step", range=AT_LEAST_1, is_axis=True
    )
    gen_length: int = setting(512, "tokens to decode", range=AT_LEAST_1)
    block_length: int = setting(
        32,
        "length of a semi-autoregressive block; read by the block paradigm, by both with a cache",
        range=AT_LEAST_1,
        paradigm="block",
    )
    paradigm: str = setting(
        "block", "block: blocks left to right; full: the whole canvas on a time grid", choices=PARADIGMS
    )
    counts: str | None = setting(
        None,
        "how many tokens a step of a block commits: even, num_steps split over blocks and tokens; rounded, dLLM's, "
        "which take any num_steps",
        choices=COUNTS,
    )
    temperature: float = setting(0.0, "0 takes the most likely token, otherwise tokens are drawn", range=AT_LEAST_0)
    top_p: float | None = setting(
        None, "nucleus; 1 is off", range=Range(lambda v: 0 < v <= 1, "above 0 and at most 1 (1 is off)"), off=1
    )
    top_k: int | None = setting(
        None,
        "number of most likely tokens kept; 0 is off",
        range=Range(lambda v: v >= 0, "1 or more (0 is off)"),
        off=0,
    )
    alg_temp: float | None = setting(
        None, "temperature of the remasking rule itself; 0 is off", range=AT_LEAST_0, off=0
    )
    eps: float = setting(
        1e-3, "where the time grid ends", range=Range(lambda v: 0 < v < 1, "above 0 and below 1"), paradigm="full"
    )
    cfg_scale: float = setting(0.0, "classifier-free guidance; 0 is off", range=AT_LEAST_0)
    seed: int = setting(1234, "of the random draws; each row has its own stream", range=AT_LEAST_0)
    stop_at_eos: bool = setting(True, "an answer ends at its first end token; false keeps the text after it")
    logits_eos_inf: bool = setting(False, "the end token can never be chosen")
    confidence_eos_eot_inf: bool = setting(False, "end tokens are committed last")
    mask_id: int | None = setting(None, "instead of the checkpoint's mask token", range=AT_LEAST_0)
    eos_id: int | None = setting(None, "instead of the checkpoint's end token", range=AT_LEAST_0)
    eot_id: int | None = setting(None, "instead of the checkpoint's end-of-turn token", range=AT_LEAST_0)
    pc_temperature: float = setting(
        0.7,
        "divides the backbone's logits before they become evidence, above 0 and at most 1",
        range=Range(lambda v: 0 < v <= 1, "above 0 and at most 1 (1 leaves the logits as they are)"),
        is_circuits=True,
        is_axis=True,
    )
    pc_frac: float = setting(
        0.3,
        "the circuit acts where the share of masked positions is below this",
        range=Range(lambda v: 0 <= v <= 2, "0 to 2 (a mask ratio: 0 never fires, above 1 always does)"),
        is_circuits=True,
        is_axis=True,
    )
    reverse_frac: bool = setting(False, "it acts where the share is above pc_frac instead", is_circuits=True)
    pc_sampling: str = setting(
        "latent", "how tokens come out of the coupled distribution", choices=PC_SAMPLING, is_circuits=True
    )
    pc_windows: str = setting(
        "best", "windows of the full paradigm", choices=PC_WINDOWS, is_circuits=True, paradigm="full"
    )
    cache: str = setting(
        "none",
        "keys and values kept within a block (approximate): prefix, before it; dual, after it as well",
        choices=CACHES,
        is_axis=True,
    )
    threshold: float | None = setting(
        None,
        "a step commits every position at least this sure (approximate), instead of --num_steps; cad: 0.95 by default; "
        "corrective, 0.9: what is no surer is masked again",
        range=Range(lambda v: 0 < v <= 1, "above 0 and at most 1 (a confidence)"),
        is_axis=True,
    )
    factor: float | None = setting(
        None,
        "the same with a bound that falls with their number (approximate)",
        range=Range(lambda v: v > 0, "above 0"),
        is_axis=True,
    )
    compat: bool = setting(False, "cad: the official code's bugs too")

    def __post_init__(self) -> None:
        if self.decoder not in DECODERS:
            raise ValueError(unknown_value("decoder", self.decoder, DECODERS))
        self._set("alg", ALG_ALIASES.get(self.alg, self.alg))
        ranges = OWN_RANGES.get(self.decoder, {})
        for field in dataclasses.fields(self):
            # One spelling of each value, so that two runs that decode alike also have the same settings.
            self._set(field.name, checked(field, getattr(self, field.name), ranges))
            if not reads(self.decoder, field.name) and getattr(self, field.name) != field.default:
                raise ValueError(_unread(self.decoder, field.name, getattr(self, field.name)))
        self._refuse_two_of_one()
        if self.remask_schedule is not None:
            self._set("remask_schedule", checked_schedule(self.remask_schedule))
        for name, default in own_defaults(self.decoder, vars(self)).items():
            if getattr(self, name) is None:
                self._set(name, default)
        if self.cache != "none" and self.cfg_scale:
            raise ValueError(
                f"`cache={self.cache}` does not go with guidance (`cfg_scale={self.cfg_scale:g}`); leave out one of "
                "them"
            )
        if self.decoder == "unmasking":
            self._refuse_approximations_that_cannot_be()
        if reads(self.decoder, "num_steps"):
            self._resolve_steps()
        if not self.has_rounded_counts("a2d"):
            self.check_blocks()
        if self.decoder == "cad":
            self._check_bounds()
        if self.decoder in REVISING and self.pc_sampling == "any_order":
            raise ValueError(
                f"`pc_sampling=any_order` commits a step's tokens one by one, and `decoder={self.decoder}` writes them "
                f"at once; use pc_sampling={either(way for way in PC_SAMPLING if way != 'any_order')}"
            )
        if self.form == "paper" and self.score != "logp":
            raise ValueError(f"`score={self.score}` is not read with `form=paper`; leave out one of them")

    @property
    def goes_by_blocks(self) -> bool:
        """Whether the answer is decoded block by block: the block paradigm, either one with a cache, and `cad`."""
        if self.decoder == "unmasking":
            return self.paradigm == "block" or self.cache != "none"
        return reads(self.decoder, "block_length")

    def has_rounded_counts(self, family: str | None = None) -> bool:
        """Whether a step of a block commits a rounded share, in a family or whatever the family is."""
        counts = self.counts or ("rounded" if family == "a2d" else "even")
        follows_a_plan = self.decoder == "unmasking" and self.paradigm == "block" and not self.steps_follow_confidence
        return follows_a_plan and counts == "rounded"

    @property
    def num_blocks(self) -> int:
        """Blocks of the answer, where it `goes_by_blocks`; the last may be shorter with `counts=rounded`."""
        return -(-self.gen_length // self.block_length)

    @property
    def steps_of_block(self) -> int:
        """Of `num_steps`, those of one block, rounded up."""
        return -(-self.steps // self.num_blocks)

    @property
    def steps(self) -> int:
        """`num_steps`, of a decoder that reads it. Raises `ValueError` for another one."""
        if self.num_steps is None:
            raise ValueError(f"`decoder={self.decoder}` has no `num_steps`")
        return self.num_steps

    @property
    def steps_follow_confidence(self) -> bool:
        """Whether confidences say how many tokens a step commits (`threshold`, `factor`, `cad`), not `num_steps`."""
        return steps_follow_confidence(vars(self))

    def tells_topprob_apart(self, *, coupled: bool) -> bool:
        """Whether `topprob` and `low_confidence` may decode differently, with a circuit (`coupled`) or without.

        They rank by the same number where candidates are the most likely tokens of the whole vocabulary.
        """
        is_plain = self.temperature == 0 and self.top_p is None and self.top_k is None
        return coupled and not self.goes_by_blocks and self.pc_windows == "best" and not is_plain

    def draws(self, *, coupled: bool) -> bool:
        """Whether answers to a prompt differ from one another, by chance; with a circuit (`coupled`) or without."""
        chosen_at_random = "random" in (self.alg, self.selection, self.score)
        of_circuit = coupled and self.pc_sampling == "latent"
        return self.temperature > 0 or self.alg_temp is not None or chosen_at_random or of_circuit

    @property
    def approximations(self) -> tuple[str, ...]:
        """What sets the answers apart from an exact decode of a fixed schedule, as `cache=dual`; empty when nothing."""
        return approximations_of(vars(self))

    def usual(self, family: Family) -> dict[str, Any]:
        """What the settings are in the family with this decoder, where nothing else is given.

        A default of the decoder's that another setting has taken the place of is None, as it is here.
        """
        kept = own_defaults(self.decoder, vars(self))
        replaced = {name: None for name in OWN_DEFAULTS.get(self.decoder, {}) if name not in kept}
        return {**vars(DecodingConfig.for_family(family, decoder=self.decoder)), **replaced}

    @classmethod
    def for_family(cls, family: Family, **given: Any) -> DecodingConfig:
        """The family's published defaults, overridden by what is given. Unknown names raise with the nearest one."""
        check_names(given, (field.name for field in dataclasses.fields(cls)), kind="setting")
        decoder = given.get("decoder", cls.decoder)
        config = cls(**{**only_read(decoder, FAMILY_DEFAULTS[family]), **given})
        config.check_blocks(family)
        return config

    def reads(self, name: str) -> bool:
        """Whether the decoder reads a setting."""
        return reads(self.decoder, name)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _resolve_steps(self) -> None:
        if self.tokens_per_step is not None:
            if self.gen_length % self.tokens_per_step:
                raise ValueError(
                    f"`tokens_per_step={self.tokens_per_step}` does not divide `gen_length={self.gen_length}`; "
                    f"use {either(_nearest_divisors(self.tokens_per_step, self.gen_length))}"
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

    def check_blocks(self, family: str | None = None) -> None:
        """Raise `ValueError` where answer and steps cannot be split over the blocks in a family, or whatever it is.

        Where `counts` is None, only a family says whether they must: `generate` asks with the backbone's.
        """
        if not self.goes_by_blocks or self.has_rounded_counts(family):
            return
        if self.gen_length % self.block_length:
            lengths = _nearest_multiples(self.gen_length, self.block_length)
            raise ValueError(
                f"`gen_length={self.gen_length}` cannot be cut into blocks of `block_length={self.block_length}`; "
                f"use a gen_length of {either(lengths)}, or another block_length"
            )
        if self.num_steps is not None and self.num_steps % self.num_blocks and not self.steps_follow_confidence:
            steps = _nearest_multiples(self.num_steps, self.num_blocks)
            raise ValueError(
                f"`num_steps={self.num_steps}` cannot be split over {self.num_blocks} blocks of {self.block_length}; "
                f"use a multiple of {self.num_blocks} ({either(steps)})"
            )

    def _refuse_two_of_one(self) -> None:
        names = [name for name in ONE_OF.get(self.decoder, ()) if getattr(self, name) is not None]
        if len(names) > 1:
            given = [f"`{name}={_shown(getattr(self, name))}`" for name in names]
            raise ValueError(f"{' and '.join(given)} both say what is masked again; leave out one of them")

    def _check_bounds(self) -> None:
        if self.min_per_step > self.max_per_step and not self.compat:
            raise ValueError(
                f"`min_per_step={self.min_per_step}` is more than `max_per_step={self.max_per_step}`; lower it "
                "(with compat=True the most wins, as officially)"
            )
        unread = "entropy_threshold" if self.selection != "entropy" else "threshold"
        default = {**vars(CadOptions()), **OWN_DEFAULTS["cad"]}[unread]
        if (value := getattr(self, unread)) != default:
            raise ValueError(
                f"`{unread}={value:g}` is not read with `selection={self.selection}`; leave out one of them"
            )

    def _refuse_approximations_that_cannot_be(self) -> None:
        cache = f"`cache={self.cache}`" if self.cache != "none" else ""
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
                f"set alg={either(CONFIDENCE_ALGS)}"
            )
        if rules and self.alg_temp is not None:
            raise ValueError(
                f"{rules[0]} does not go with `alg_temp={self.alg_temp:g}`, which draws positions at random; "
                f"leave out one of them"
            )


def approximations_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """`DecodingConfig.approximations` of settings as plain data, such as those in a result."""
    exact = _EXACT if _decoder(settings) == "unmasking" else {"cache": "none"}
    given = {name: value for name, off in exact.items() if (value := settings.get(name, off)) != off}
    return tuple(f"{name}={_shown(value)}" for name, value in given.items())


def extensions_of(settings: Mapping[str, Any], *, coupled: bool) -> tuple[str, ...]:
    """What of a decode is this project's own and has no reference, with a circuit (`coupled`) or without."""
    decoder = _decoder(settings)
    return (f"circuit with decoder={decoder}",) if coupled and decoder in REVISING else ()


def departures_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """What of a decode is done by another method of the same aim than in the authors' code."""
    if _decoder(settings) != "p2" or settings.get("form", P2Options.form) != "released":
        return ()
    if settings.get("temperature", 0.0) > 0 and settings.get("score", P2Options.score) != "random":
        return ("p2 scores the tempered distribution, where the released code scores noised logits",)
    return ()


def steps_follow_confidence(settings: Mapping[str, Any]) -> bool:
    """`DecodingConfig.steps_follow_confidence` of settings as plain data."""
    decoder = _decoder(settings)
    if decoder != "unmasking":
        return decoder in DECODERS and not reads(decoder, "num_steps")
    return settings.get("threshold") is not None or settings.get("factor") is not None


def rule_of(settings: Mapping[str, Any]) -> str:
    """What says which positions a step commits: `margin`, `cad`, or `cad max_per_step=8` with options not default."""
    decoder = _decoder(settings)
    if decoder == "unmasking" or decoder not in DECODERS:
        return settings["alg"] if decoder == "unmasking" else decoder
    usual = {**vars(DecodingConfig()), **own_defaults(decoder, settings)}
    shared = DECODERS["unmasking"]
    names = [name for name in DECODERS[decoder] if name not in shared or name in OWN_DEFAULTS.get(decoder, {})]
    given = {name: value for name in names if (value := settings.get(name, usual[name])) != usual[name]}
    return " ".join([decoder, *(f"{name}={_shown(value)}" for name, value in given.items())])


def _shown(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value).lower()


def _decoder(settings: Mapping[str, Any]) -> str:
    return str(settings.get("decoder", DecodingConfig.decoder))


def _unread(decoder: str, name: str, value: Any) -> str:
    readers = [f"decoder={other}" for other in DECODERS if reads(other, name)]
    return f"`{name}={value}` is read by {either(readers)}, not by `decoder={decoder}`; leave out one of them"


def _nearest_multiples(value: int, of: int) -> list[int]:
    below = value // of * of
    return [n for n in (below, below + of) if n > 0]


def _nearest_divisors(value: int, of: int) -> list[int]:
    divisors = [n for n in range(1, of + 1) if of % n == 0]
    below = max(n for n in divisors if n <= value or n == 1)
    above = min((n for n in divisors if n >= value), default=of)
    return sorted({below, above})


# What an exact decode has of the settings that approximate one.
_EXACT: Final[Mapping[str, Any]] = {"cache": "none", "threshold": None, "factor": None}

# What only a circuit reads.
CIRCUIT_SETTINGS: Final = tuple(
    field.name for field in dataclasses.fields(DecodingConfig) if facts_of(field).is_circuits
)
