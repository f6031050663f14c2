"""Which class a decoder is, which settings it reads, and what it has in place of their defaults.

A setting that no decoder names below is read by all of them. One that the chosen decoder does not read is refused when
it differs from its default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from lm_eval_codd.settings.block_rules import RULES
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
from lm_eval_codd.settings.routing import ROUTER_SETTINGS

Circuits = Literal["windows", "tiles", "blocks"]


@dataclass(frozen=True)
class DecoderFacts:
    """What launcher, checks and reports know of a decoder without its code.

    Attributes:
        target: its class, as "module:Class".
        shared: what it reads beside that which all decoders read and `options`.
        options: a dataclass of the options that no other decoder has.
        unread: what it alone does not read.
        threshold: its default of `threshold`, which may be any number >= 0 then; None: off, and at most 1.
        one_of: settings of which it takes one; the others are None.
        revises: whether it may mask again what it has written (`Decoder.revises`), in its block or anywhere.
        circuits: where a circuit looks: at `windows`, at blocks of any length, or at `tiles` of the answer. The last
            two are extensions of this project's, without a reference. None: no circuit goes with it.
        takes_planner: whether a second model may score what the first predicts.
        by_confidence: whether an answer may need fewer steps than are allowed, by how sure the network is.
    """

    target: str
    shared: tuple[str, ...]
    options: type | None = None
    unread: tuple[str, ...] = ()
    threshold: float | None = None
    one_of: tuple[str, ...] = ()
    revises: bool = False
    circuits: Circuits | None = "windows"
    takes_planner: bool = False
    by_confidence: bool = False

    @property
    def own(self) -> tuple[str, ...]:
        """Names of its options."""
        return () if self.options is None else tuple(field.name for field in dataclasses.fields(self.options))

    @property
    def settings(self) -> tuple[str, ...]:
        """What it reads beside that which all decoders read."""
        return (*self.shared, *self.own)


DECODERS: Final[dict[str, DecoderFacts]] = {
    "unmasking": DecoderFacts(
        "lm_eval_codd.decoding.decoders.unmasking:Unmasking",
        (
            *("alg", "num_steps", "tokens_per_step", "block_length", "paradigm", "counts", "top_p", "top_k"),
            *("alg_temp", "eps", "logits_eos_inf", "confidence_eos_eot_inf", "pc_windows"),
            *("cache", "threshold", "factor"),
        ),
    ),
    "cad": DecoderFacts(
        "lm_eval_codd.decoding.decoders.adaptive:Adaptive",
        ("block_length", "cache", "threshold", "compat"),
        CadOptions,
        threshold=0.95,
        by_confidence=True,
    ),
    "klass": DecoderFacts(
        "lm_eval_codd.decoding.decoders.klass:Klass",
        ("num_steps", "tokens_per_step", "block_length", "paradigm", "top_p", "top_k", "threshold"),
        KlassOptions,
        threshold=0.9,
        circuits=None,  # coupled logits of one step are no distribution to hold the next step's against
        by_confidence=True,
    ),
    "eb": DecoderFacts(
        "lm_eval_codd.decoding.decoders.entropy_bound:EntropyBound",
        ("block_length", "paradigm", "top_p", "top_k"),
        EbOptions,
        circuits=None,  # a bound on what independent draws lose means nothing for joint ones
        by_confidence=True,
    ),
    "wino": DecoderFacts(
        "lm_eval_codd.decoding.decoders.wino:Wino",
        ("block_length", "threshold"),
        WinoOptions,
        # Its second copy of a block would compete with the block for experts.
        unread=(*ROUTER_SETTINGS, "cfg_scale"),
        threshold=0.6,
        revises=True,
        circuits=None,  # coupled logits are no verdict of the backbone's on what was written
        by_confidence=True,
    ),
    "p2": DecoderFacts(
        "lm_eval_codd.decoding.decoders.path_planning:PathPlanning",
        ("num_steps",),
        P2Options,
        revises=True,
        circuits="tiles",
        takes_planner=True,
    ),
    "open_dllm": DecoderFacts(
        "lm_eval_codd.decoding.decoders.open_dllm:OpenDllm",
        ("num_steps", "top_p", "top_k"),
        OpenDllmOptions,
        revises=True,
        circuits="tiles",
    ),
    "corrective": DecoderFacts(
        "lm_eval_codd.decoding.decoders.corrective:Corrective",
        ("num_steps", "top_p", "top_k", "threshold"),
        CorrectiveOptions,
        threshold=0.9,
        one_of=("threshold", "remask_schedule", "mad_k"),
        revises=True,
        circuits="tiles",
    ),
    "block_diffusion": DecoderFacts(
        "lm_eval_codd.decoding.decoders.block_diffusion.decoder:BlockDiffusion",
        ("num_steps", "block_length", "top_p", "top_k", "threshold", "cache"),
        BlockOptions,
        circuits="blocks",
        by_confidence=True,
    ),
}
REVISING: Final = tuple(name for name, facts in DECODERS.items() if facts.revises)
TILED: Final = tuple(name for name, facts in DECODERS.items() if facts.circuits == "tiles")


def own_defaults(decoder: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a decoder, or the rule of the block decoder, has in place of a default; not where `one_of` gives another."""
    if decoder == "block_diffusion":
        of_rule = dict(RULES[settings["rule"]].defaults) if settings.get("rule") in RULES else {}
        if settings.get("remask") not in (None, "dynamic"):  # what is not dynamic has no threshold
            of_rule.pop("threshold", None)
        return of_rule
    facts = DECODERS[decoder]
    replaced = any(settings.get(other) is not None for other in facts.one_of if other != "threshold")
    return {} if facts.threshold is None or replaced else {"threshold": facts.threshold}


def reads(decoder: str, name: str) -> bool:
    """Whether a decoder reads a setting."""
    facts = DECODERS[decoder]
    if name in facts.unread:
        return False
    return name in facts.settings or not any(name in other.settings for other in DECODERS.values())


def only_read(decoder: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that the decoder reads; all of them for a decoder that is unknown."""
    return {name: value for name, value in settings.items() if decoder not in DECODERS or reads(decoder, name)}
