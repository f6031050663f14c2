"""Runs out of what was written down of them: an identity, of this version or an older one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lm_eval_codd.runs.run import Run, decodes_nothing, defaults_of
from lm_eval_codd.runs.unconditional import KINDS, UnconditionalRun
from lm_eval_codd.settings import READ_BY_LIKELIHOODS, DecodingConfig
from lm_eval_codd.settings.older_records import filled_settings


def filled(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity, of this version or an older one, with the defaults of what it leaves out.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(identity, Mapping) or not isinstance(identity.get("config"), Mapping):
        raise ValueError("no identity of a run")
    config = identity["config"]
    kind = KINDS.get(str(identity.get("family")))
    if kind is not None:
        return {**defaults_of(UnconditionalRun), **identity, "config": {**defaults_of(kind.settings), **config}}
    whole = {**defaults_of(Run), **identity}
    if decodes_nothing(str(whole.get("task")), whole["include_path"]):
        # Older versions recorded what such a run was given for decoding too.
        config = {name: value for name, value in config.items() if name in READ_BY_LIKELIHOODS}
    return {**whole, "config": filled_settings(config)}


def from_identity(identity: Mapping[str, Any]) -> Run:
    """The run that an identity is of, whichever way it was written down; raises `ValueError` where it is none."""
    fields = filled(identity)
    kind, samples = KINDS.get(str(identity["family"])), fields["samples"]
    config = (DecodingConfig if kind is None else kind.settings)(**fields["config"])
    bounds = None if samples is None else (samples[0], samples[1])
    return (Run if kind is None else UnconditionalRun)(**{**fields, "config": config, "samples": bounds})
