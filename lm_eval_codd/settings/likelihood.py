"""`LikelihoodConfig`: every setting of a log-likelihood."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lm_eval_codd.names import explains_unknown_names
from lm_eval_codd.settings.config import DecodingConfig
from lm_eval_codd.settings.fields import AT_LEAST_1, Range, checked, setting, shared_with, unknown_value
from lm_eval_codd.settings.routing import refuse_routing

# What each estimator reads beside `seed`-free settings that all of them read.
ESTIMATORS: Final[Mapping[str, tuple[str, ...]]] = {
    "mc": ("num_samples", "ladder", "ladder_size", "target_stderr", "seed"),
    "mc_bernoulli": ("num_samples", "ladder_size", "target_stderr", "seed"),
    "chain": ("order",),
    "exact": (),
    "one_forward": ("pad_to",),
}
LADDERS: Final = ("unbiased", "official")
ORDERS: Final = ("left", "confident")
# How `LikelihoodConfig.meaning` begins where values are one.
LOWER_BOUND: Final = "lower bound of the log-likelihood"
# 2^n - 1 canvases.
LONGEST_EXACT: Final = 14

_DECODING: Final = {field.name for field in dataclasses.fields(DecodingConfig)}


def targets_with_mask(number: int, mask_id: int | None, whose: str = "") -> str:
    """What is to be known of log-likelihoods of targets that hold the mask token."""
    return (
        f"{number} targets hold the mask token (id {mask_id}), which is noise to this model and never text, so their "
        f"log-likelihoods mean nothing{whose}; take it out of these texts, or give mask_id= where it is another"
    )


@explains_unknown_names("setting")
@dataclass(frozen=True, kw_only=True)
class LikelihoodConfig:
    """Every setting that can change a log-likelihood. Frozen, validated at construction, written into results.

    Args:
        estimator: `mc`: the Monte Carlo bound of masked diffusion, the mean over l uniform on 1..n and l random masks
            of n / l times the log probability of the masked tokens (LLaDA); `mc_bernoulli`: Dream's form of it, each
            token masked with probability p and the sum divided by p; `chain`: the chain rule in one order, exact for
            it; `exact`: the mean of `mc` over all masks, for short targets; `one_forward`: the log probability of all
            tokens masked at once, each alone (EC-DLM's evaluation): a score, not a likelihood.
        num_samples: masks drawn for a target; with `target_stderr` at most that many.
        ladder: how `mc` spreads the numbers of masked tokens: `unbiased`, one in each of num_samples equal strata; or
            `official`, LLaDA's ladders of `ladder_size` evenly spaced numbers from a random start, whose rounding
            favours some numbers.
        ladder_size: masks of an official ladder, and of Dream's; with `target_stderr`, of a round.
        target_stderr: stop drawing once the standard error, in nats, is no larger; None draws num_samples.
        order: of `chain`: `left` to right, or `confident`: always the position that the model is surest of.
        pad_to: of `one_forward`: end tokens after the target, up to so many tokens in all, that the model sees as it
            does in EC-DLM's evaluation; None: none.
        seed: of the masks. They depend on it and on the prompt, so all targets of one prompt are seen through the same.
        cfg_scale: classifier-free guidance, as in decoding; 0 is off.
        is_greedy: whether to find out if decoding one token a step, the surest first, would write the target.
        pc_temperature, pc_frac, reverse_frac: of a circuit, as in decoding.
        router, ec_schedule, ec_k, ec_k_min, ec_k_max, ec_sigma, ec_gates, ec_scope: of mixtures of experts, as in
            decoding.

    Raises:
        ValueError: one line with the argument, its value, what is allowed and what to do.
    """

    estimator: str = setting(
        "mc",
        "log-likelihoods: mc, Monte Carlo over masks; mc_bernoulli, Dream's form of it; chain, one order; exact, all "
        "masks of a short target; one_forward, all masked at once (EC-DLM's score)",
    )
    num_samples: int = setting(128, "log-likelihoods: masks drawn for a target", range=AT_LEAST_1)
    ladder: str = setting(
        "unbiased", "log-likelihoods: how numbers of masks are spread; official: LLaDA's rounding", choices=LADDERS
    )
    ladder_size: int = setting(16, "log-likelihoods: masks of an official ladder, or of Dream's", range=AT_LEAST_1)
    target_stderr: float | None = setting(
        None,
        "log-likelihoods: draw no more masks once the standard error is this small",
        range=Range(lambda v: v > 0, "above 0 (nats)"),
    )
    order: str = setting("left", "log-likelihoods: the order of estimator=chain", choices=ORDERS)
    pad_to: int | None = setting(
        None,
        "log-likelihoods: end tokens after the target up to so many in all, which the model sees, as EC-DLM does",
        range=AT_LEAST_1,
    )
    seed: int = shared_with(DecodingConfig, "seed")
    cfg_scale: float = shared_with(DecodingConfig, "cfg_scale")
    is_greedy: bool = setting(False, "log-likelihoods: whether greedy decoding would write the target")
    pc_temperature: float = shared_with(DecodingConfig, "pc_temperature")
    pc_frac: float = shared_with(DecodingConfig, "pc_frac")
    reverse_frac: bool = shared_with(DecodingConfig, "reverse_frac")
    router: str = shared_with(DecodingConfig, "router")
    ec_schedule: str = shared_with(DecodingConfig, "ec_schedule")
    ec_k: int | None = shared_with(DecodingConfig, "ec_k")
    ec_k_min: int | None = shared_with(DecodingConfig, "ec_k_min")
    ec_k_max: int | None = shared_with(DecodingConfig, "ec_k_max")
    ec_sigma: float = shared_with(DecodingConfig, "ec_sigma")
    ec_gates: str | None = shared_with(DecodingConfig, "ec_gates")
    ec_scope: str | None = shared_with(DecodingConfig, "ec_scope")

    def __post_init__(self) -> None:
        if self.estimator not in ESTIMATORS:
            raise ValueError(unknown_value("estimator", self.estimator, ESTIMATORS))
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, checked(field, getattr(self, field.name), {}))
            given = getattr(self, field.name)
            if not self.reads(field.name) and given != field.default and field.name != "seed":
                readers = " or ".join(name for name, names in ESTIMATORS.items() if field.name in names)
                raise ValueError(
                    f"`{field.name}={given}` is read by estimator={readers}, not by `estimator={self.estimator}`; "
                    "leave out one of them"
                )
        if self.estimator == "mc" and self.ladder == "official" and self.num_samples % self.ladder_size:
            raise ValueError(
                f"`num_samples={self.num_samples}` is not made of whole ladders of `ladder_size={self.ladder_size}` "
                f"(ladder=official); use a multiple, ladder_size={self.num_samples}, or ladder=unbiased"
            )
        refuse_routing(self)

    def reads(self, name: str) -> bool:
        """Whether the estimator reads a setting."""
        return name in ESTIMATORS[self.estimator] or not any(name in names for names in ESTIMATORS.values())

    def meaning(self, *, coupled: bool) -> str:
        """What the values are, for results.

        Args:
            coupled: whether a circuit takes part.
        """
        if self.estimator == "chain":
            return f"log-likelihood by the chain rule in the order `{self.order}`, exact for that order"
        if self.estimator == "one_forward":
            padded = f", padded with end tokens to {self.pad_to}" if self.pad_to else ""
            return f"score of one forward with all of the target masked{padded} (EC-DLM's evaluation); not a bound"
        how = "exact over all masks" if self.estimator == "exact" else f"over {self.num_samples} random masks"
        if coupled:
            return f"estimate by the objective of a circuit (arXiv 2603.00045, Eq. 7), {how}; not a bound"
        if self.estimator == "mc" and self.ladder == "official":
            how += ", whose official ladder is biased by rounding"
        if self.estimator == "mc_bernoulli":
            how += ", whose last token is never masked"
        return f"{LOWER_BOUND}, {how}"


# Those that decoding has too, alone and with the token ids in place of a checkpoint's; and those that it has not.
SHARED_WITH_DECODING: Final = tuple(
    field.name for field in dataclasses.fields(LikelihoodConfig) if field.name in _DECODING
)
READ_BY_LIKELIHOODS: Final = (*SHARED_WITH_DECODING, "mask_id", "eos_id", "eot_id")
ONLY_LIKELIHOODS: Final = tuple(
    field.name for field in dataclasses.fields(LikelihoodConfig) if field.name not in _DECODING
)
