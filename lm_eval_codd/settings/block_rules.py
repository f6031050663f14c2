"""Rules of the block decoder: their classes, what each reads of the settings, and has in place of their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True)
class RuleFacts:
    """What is known of a rule without its code.

    Attributes:
        target: its class, as "module:Class".
        reads: of the block decoder's settings, beside `rule` and `block_length`.
        defaults: where it has one for a setting that is None; those of the authors' evaluations.
    """

    target: str
    reads: tuple[str, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)


RULES: Final[dict[str, RuleFacts]] = {
    "sdar": RuleFacts(
        "lm_eval_codd.decoding.decoders.block_diffusion.sdar:Sdar",
        ("num_steps", "threshold", "temperature", "top_k", "top_p", "remask"),
        {"remask": "dynamic", "threshold": 0.85},
    ),
    "sdar_greedy": RuleFacts(
        "lm_eval_codd.decoding.decoders.block_diffusion.sdar:Sdar",
        ("num_steps", "threshold", "remask"),
        {"remask": "dynamic", "threshold": 0.85},
    ),
    "llada2": RuleFacts(
        "lm_eval_codd.decoding.decoders.block_diffusion.llada2:LLaDA2",
        ("num_steps", "threshold", "temperature", "top_k", "top_p", "minimal_per_step"),
        {"threshold": 0.95},
    ),
    "llada21": RuleFacts(
        "lm_eval_codd.decoding.decoders.block_diffusion.llada21:LLaDA21",
        ("threshold", "temperature", "top_k", "top_p", "editing_threshold", "max_post_steps"),
        {"threshold": 0.95, "editing_threshold": 0.9, "max_post_steps": 16},
    ),
    "fast_dllm_v2": RuleFacts(
        "lm_eval_codd.decoding.decoders.block_diffusion.fast_dllm_v2:FastDllmV2",
        ("threshold", "temperature", "top_p", "small_block_length", "cache"),
        {"threshold": 0.9, "small_block_length": 8},
    ),
    "bd3lm": RuleFacts("lm_eval_codd.decoding.decoders.block_diffusion.bd3lm:Bd3lm", ("num_steps", "temperature")),
}


def has_steps(rule: str | None) -> bool:
    """Whether `num_steps` says how many steps a block has; so of no rule, and of one that is unknown."""
    return rule not in RULES or "num_steps" in RULES[rule].reads
