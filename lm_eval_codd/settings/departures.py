"""What a decoder does by another method of the same aim than its authors' code, and in which settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from lm_eval_codd.settings.decoder_options import P2Options


class Departure(NamedTuple):
    """What a decoder does by another method of the same aim than the authors' code.

    Attributes:
        concerns: whether a decode of these settings, which may lack defaults, does it.
        line: what is to be known of it.
    """

    concerns: Callable[[Mapping[str, Any]], bool]
    line: str


def _scores_are_tempered(settings: Mapping[str, Any]) -> bool:
    usual = P2Options()
    is_released = settings.get("form", usual.form) == "released"
    is_random = settings.get("score", usual.score) == "random"
    return is_released and not is_random and settings.get("temperature", 0.0) > 0


def _is_truly_greedy(settings: Mapping[str, Any]) -> bool:
    return settings.get("rule") in ("sdar", "sdar_greedy") and settings.get("temperature", 0.0) == 0


def _may_run_out_of_steps(settings: Mapping[str, Any]) -> bool:
    num_steps, gen_length = settings.get("num_steps"), settings.get("gen_length")
    return num_steps is not None and gen_length is not None and num_steps < gen_length


DEPARTURES: Final[Mapping[str, tuple[Departure, ...]]] = {
    "block_diffusion": (
        Departure(
            _is_truly_greedy,
            "sdar at temperature 0 (sdar_greedy) is as sure as the whole distribution is, where its authors' greedy "
            "(temperature=1, top_k=1) is sure of every token",
        ),
    ),
    "klass": (
        Departure(
            _may_run_out_of_steps,
            "klass commits what is left of a block in its last step, where the authors' code leaves masks",
        ),
    ),
    "p2": (
        Departure(
            _scores_are_tempered,
            "p2 scores the tempered distribution, where the released code scores noised logits",
        ),
    ),
}
