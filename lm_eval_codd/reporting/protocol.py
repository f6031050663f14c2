"""What runs of one table have in common, and what such a table is called."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from lm_eval_codd.catalogue import COUPLING, DIT_TITLES, FAMILY_TITLES
from lm_eval_codd.reporting.unconditional import ROW, SAMPLER_AXES
from lm_eval_codd.settings import (
    CIRCUIT_SETTINGS,
    DECODERS,
    FAMILY_DEFAULTS,
    PARADIGMS,
    DecodingConfig,
    facts_of,
    reads,
)

if TYPE_CHECKING:
    from lm_eval_codd.reporting.run import Run
    from lm_eval_codd.settings import Family

__all__ = ["FACTS", "family_defaults", "protocol_of", "settings_given", "short_name", "title_of"]

PARADIGM_NAMES: Final = {"block": "block diffusion", "full": "full diffusion", ROW: "whole rows"}

FACTS: Final = {field.name: facts_of(field) for field in dataclasses.fields(DecodingConfig)}
# The axes of a table; every other setting is its protocol. The options of the other decoders, and of a router, are part
# of the rule, which is a row.
_USUAL: Final = DECODERS["unmasking"].settings
_OF_OTHER_DECODERS: Final = {name for facts in DECODERS.values() for name in facts.settings} - {*_USUAL}
_AXES: Final = (
    tuple(name for name, facts in FACTS.items() if facts.is_axis or name in _OF_OTHER_DECODERS) + SAMPLER_AXES
)
# Kinds of a circuit's use: rows of their own beside the base's.
KINDS: Final = tuple(sorted(name for name in CIRCUIT_SETTINGS if name not in _AXES))
NOT_IN: Final = {
    paradigm: tuple(name for name, facts in FACTS.items() if facts.paradigm not in (None, paradigm))
    for paradigm in PARADIGMS
}
# What a cache makes of these: blocks in the full paradigm, and a time grid in Dream's blocks. Windows are blocks then.
READ_WITH_A_CACHE: Final = tuple(
    name for name, facts in FACTS.items() if facts.paradigm is not None and not facts.is_circuits
)


def protocol_of(run: Run) -> dict[str, Any]:
    """What runs of one table have in common."""
    skipped = (*_AXES, *KINDS, *NOT_IN.get(str(run.settings.get("paradigm")), ()))
    settings = {name: value for name, value in run.settings.items() if name not in skipped}
    # What the decoder does not read is as in the runs that it is compared with.
    usual, decoder = family_defaults(run.family), run.settings.get("decoder", DecodingConfig.decoder)
    if decoder in DECODERS:
        unread = [name for name in settings if name != "paradigm" and not reads(decoder, name)]
        settings.update({name: usual.get(name, getattr(DecodingConfig, name)) for name in unread})
    return {
        "family": run.family,
        "checkpoint": short_name(run.checkpoint),
        "peft": None if run.peft is None else short_name(run.peft),
        **settings,
        **run.task_arguments,
        **{n: short_name(v) if n in ("planner", "tokenizer") else v for n, v in run.model_arguments.items()},
        "num_fewshot": run.num_fewshot,
        "limit": run.limit,
        "dtype": run.dtype,
        "max_length": run.max_length,
    }


def short_name(checkpoint: str | None) -> str:
    """A hub id as it is, a local path by its last part: the same checkpoint elsewhere has the same name."""
    path = Path(checkpoint or "?")
    return path.name if path.is_absolute() or len(path.parts) != 2 else str(checkpoint)


def family_defaults(family: str | None) -> Mapping[str, Any]:
    """The published defaults of a family of this version; of others none are known."""
    return FAMILY_DEFAULTS.get(cast("Family", family), {})


def settings_given(run: Run) -> dict[str, Any]:
    """The protocol's settings that are not the family's published defaults, and other departures from them."""
    defaults = {**DecodingConfig().__dict__, **family_defaults(run.family), "num_fewshot": 0, "limit": None}
    protocol = protocol_of(run)
    described = ("family", "checkpoint", "paradigm", "dtype", "max_length")
    return {n: v for n, v in protocol.items() if n not in described and v != defaults.get(n)}


def title_of(protocol: Mapping[str, Any], run: Run) -> str:
    """What a table of runs of this protocol, `run` one of them, is called."""
    family = {**FAMILY_TITLES, **DIT_TITLES, COUPLING: "Coupling Models"}.get(protocol["family"], protocol["family"])
    parts = [f"{family} ({protocol['checkpoint']})", PARADIGM_NAMES.get(protocol["paradigm"], protocol["paradigm"])]
    if run.dtype is not None:
        parts.append(run.dtype)
    given = settings_given(run)
    limit = given.pop("limit", None)
    parts += [f"{name}={value}" for name, value in given.items()]
    if limit is not None:
        parts.append(f"{limit}: no scores of the benchmarks")
    return ", ".join(parts)
