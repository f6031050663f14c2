"""What follows from a decode's settings as plain data, such as those in a result: its rule, and what it is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lm_eval_codd.settings.block_rules import has_steps
from lm_eval_codd.settings.decoders import (
    DECODERS,
    own_defaults,
    reads,
)
from lm_eval_codd.settings.decoding_fields import DecodingFields
from lm_eval_codd.settings.departures import DEPARTURES
from lm_eval_codd.settings.routing import ROUTER_SETTINGS

# What an exact decode has of the settings that approximate one.
_EXACT: Final[Mapping[str, Any]] = {"cache": "none", "threshold": None, "factor": None}


def approximations_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """`DecodingConfig.approximations` of settings as plain data, such as those in a result."""
    exact = _EXACT if _decoder(settings) == "unmasking" else {"cache": "none"}
    given = {name: value for name, off in exact.items() if (value := settings.get(name, off)) != off}
    return tuple(f"{name}={shown(value)}" for name, value in given.items())


def extensions_of(settings: Mapping[str, Any], *, coupled: bool) -> tuple[str, ...]:
    """What of a decode is this project's own and has no reference, with a circuit (`coupled`) or without."""
    decoder = _decoder(settings)
    has_no_reference = decoder in DECODERS and DECODERS[decoder].circuits in ("tiles", "blocks")
    of_circuit = (f"circuit with decoder={decoder}",) if coupled and has_no_reference else ()
    return (*of_circuit, *routing_of(settings)[:1])


def departures_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """What of a decode is done by another method of the same aim than in the authors' code."""
    return tuple(one.line for one in DEPARTURES.get(_decoder(settings), ()) if one.concerns(settings))


def steps_follow_confidence(settings: Mapping[str, Any]) -> bool:
    """`DecodingConfig.steps_follow_confidence` of settings as plain data."""
    decoder = _decoder(settings)
    if decoder == "block_diffusion":
        return not has_steps(settings.get("rule"))
    if decoder != "unmasking":
        return decoder in DECODERS and not reads(decoder, "num_steps")
    return settings.get("threshold") is not None or settings.get("factor") is not None


def rule_of(settings: Mapping[str, Any]) -> str:
    """What says which positions a step commits: `margin`, `cad`, or `cad max_per_step=8` with options not default.

    With experts that choose tokens, `margin router=ec`.
    """
    return " ".join([_own_rule(settings), *routing_of(settings)])


def routing_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """`router=ec` and its settings that are not default, in words; empty with `router=tc`."""
    usual = vars(DecodingFields())
    given = {name: value for name in ROUTER_SETTINGS if (value := settings.get(name, usual[name])) != usual[name]}
    return tuple(f"{name}={shown(value)}" for name, value in given.items())


def _own_rule(settings: Mapping[str, Any]) -> str:
    decoder = _decoder(settings)
    if decoder == "unmasking" or decoder not in DECODERS:
        return settings["alg"] if decoder == "unmasking" else decoder
    own = own_defaults(decoder, settings)
    usual = {**vars(DecodingFields()), **own}
    shared = DECODERS["unmasking"].settings
    # A threshold of these decoders is told by nothing else, whether it has a default yet or not (a rule's has).
    has_own = {*own, "threshold"}
    names = [name for name in DECODERS[decoder].settings if name not in shared or name in has_own]
    given = {name: value for name in names if (value := settings.get(name, usual[name])) != usual[name]}
    return " ".join([decoder, *(f"{name}={shown(value)}" for name, value in given.items())])


def shown(value: object) -> str:
    """A value as a name of a run or a message has it: `0.9`, `true`."""
    return f"{value:.10g}" if isinstance(value, float) else str(value).lower()


def _decoder(settings: Mapping[str, Any]) -> str:
    return str(settings.get("decoder", DecodingFields.decoder))
