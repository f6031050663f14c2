"""What a result says of the log-likelihoods behind its scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from lm_eval_codd.settings import (
    DEFAULT_NUM_STEPS,
    FAMILY_DEFAULTS,
    ONLY_LIKELIHOODS,
    READ_BY_LIKELIHOODS,
    DecodingConfig,
    LikelihoodConfig,
)

if TYPE_CHECKING:
    from lm_eval_codd.settings import Family

_USUAL: Final = vars(LikelihoodConfig())


def likelihood_arguments(likelihoods: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that decoding has not and that are not their default: they keep runs apart in tables.

    Args:
        likelihoods: of `config` in a results file; empty where there are none.
    """
    settings = likelihoods.get("settings")
    given = settings if isinstance(settings, Mapping) else {}
    return {name: given[name] for name in ONLY_LIKELIHOODS if name in given and given[name] != _USUAL[name]}


def read_by_likelihoods(settings: Mapping[str, Any], family: str | None) -> dict[str, Any]:
    """Settings of a run that decodes nothing: the family's, but for what log-likelihoods read."""
    usual = {**settings, **vars(DecodingConfig()), **FAMILY_DEFAULTS.get(cast("Family", family), {})}
    usual["num_steps"] = DEFAULT_NUM_STEPS
    return {**usual, **{name: settings[name] for name in READ_BY_LIKELIHOODS if name in settings}}


def likelihood_notes(likelihoods: Mapping[str, Any]) -> Iterator[str]:
    """A line that says what the log-likelihoods are."""
    if what := likelihoods.get("what"):
        yield f"scored by the {what}"
