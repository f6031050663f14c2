"""Which decoder reads which settings, and what it has in place of their defaults.

A setting that no decoder names below is read by all of them. One that the chosen decoder does not read is refused when
it differs from its default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from lm_eval_codd.settings.decoder_options import (
    BlockOptions,
    CadOptions,
    CorrectiveOptions,
    EbOptions,
    KlassOptions,
    OpenDllmOptions,
    P2Options,
    WinoOptions,
)
from lm_eval_codd.settings.fields import AT_LEAST_0, Range
from lm_eval_codd.settings.routing import ROUTER_SETTINGS

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
