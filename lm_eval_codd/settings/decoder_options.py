"""The options that are a decoder's own, a dataclass each."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Final

from lm_eval_codd.settings.block_rules import RULES
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


REMASKS: Final = ("dynamic", "static", "sequential")


@dataclass(frozen=True, kw_only=True)
class BlockOptions:
    """Block diffusion: blocks from left to right, of which the finished ones never change and are computed once.

    `num_steps` are those of a block here, `block_length` of them by default. An option that is None is the rule's own
    (`RULES`).
    """

    rule: str | None = setting(
        None, "block_diffusion: whose rule of a block is followed; the family's by default", choices=tuple(RULES)
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
