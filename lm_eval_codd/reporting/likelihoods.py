"""What a result says of the log-likelihoods behind its scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from lm_eval_codd.settings import ONLY_LIKELIHOODS, LikelihoodConfig

_USUAL: Final = vars(LikelihoodConfig())


def likelihood_arguments(likelihoods: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that decoding has not and that are not their default: they keep runs apart in tables.

    Args:
        likelihoods: of `config` in a results file; empty where there are none.
    """
    settings = likelihoods.get("settings")
    given = settings if isinstance(settings, Mapping) else {}
    return {name: given[name] for name in ONLY_LIKELIHOODS if name in given and given[name] != _USUAL[name]}


def likelihood_notes(likelihoods: Mapping[str, Any]) -> Iterator[str]:
    """A line that says what the log-likelihoods are."""
    if what := likelihoods.get("what"):
        yield f"scored by the {what}"
