"""Settings as sources state them, by their names, as flags of the launcher."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.names import EXPLAINED, READ_AS
from lm_eval_codd.runs.flags import convert
from lm_eval_codd.runs.run_flags import KIND_OF_FLAG

if TYPE_CHECKING:
    from lm_eval_codd.atlas.cell import Cell

__all__ = ["flags_of_settings", "with_steps_of_blocks"]

# Names of sources that `names.READ_AS` does not have, since no user types them here.
_HERE: Final[Mapping[str, str]] = {
    "add_bos": "add_bos_token",
    "eos_threshold_ratio": "eos_ratio",
    "max_tokens_per_step": "max_per_step",
    "min_tokens_per_step": "min_per_step",
}
# What was measured, what other flags follow from below, what the task says, and what is so here anyway.
_NO_FLAGS: Final = (
    *("batch_size", "batch_of_masks", "tokens_per_forward", "mean_steps", "nll", "samples", "canvas", "eos"),
    *("right_shift_logits", "unmask_strategy", "runs", "stop_words"),
)
_OFF: Final = {"top_p": 1.0, "top_k": 0}
_BATCH: Final = re.compile(r"batch (\d+)")
# A rule whose authors count steps of the whole answer, where the decoder here counts those of a block.
_STEPS_OF_ANSWER: Final = "bd3lm"


def flags_of_settings(cell: Cell, alias: str, family: str | None, assumed: Mapping[str, str]) -> dict[str, Any]:
    """Flags for the settings of a cell.

    Args:
        cell: what was published.
        alias: of its model here.
        family: of a model whose alias does not say it.
        assumed: flags that are given otherwise.

    Raises:
        ValueError: one line: a setting has no flag here, or its value is none of the flag's.
    """
    flags: dict[str, Any] = {}
    for name, value in cell.settings.items():
        here = _flag_of(name, value)
        if here is not None and here not in assumed:
            flags[here] = _value(here, value, cell.settings)
    if flags.get("alg") == "confidence_threshold":
        flags["alg"] = "low_confidence"
    if "threshold" in flags:
        flags.pop("num_steps", None)
    if cell.settings.get("canvas") == "whole":
        flags["paradigm"] = "full"
    if "num_samples" in {**flags, **assumed} or "nll" in cell.settings:
        return {**flags, **_of_likelihoods(cell.settings, alias)}
    if alias == "dream":
        # Its family's defaults here are those of one paper.
        flags = {**{name: off for name, off in _OFF.items() if name not in assumed}, **flags}
    # None of these harnesses ends an answer at its first end token before `until`.
    return {"stop_at_eos": False, **flags}


def with_steps_of_blocks(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of a cell, the steps of an answer divided over its blocks where the decoder here counts them so."""
    if flags.get("rule") != _STEPS_OF_ANSWER or not {"num_steps", "gen_length", "block_length"} <= flags.keys():
        return dict(flags)
    num_blocks = math.ceil(flags["gen_length"] / flags["block_length"])
    return {**flags, "num_steps": math.ceil(flags["num_steps"] / num_blocks)}


def _flag_of(name: str, value: object) -> str | None:
    """The flag of a setting; None for what needs none."""
    if name in _NO_FLAGS or (name in EXPLAINED and value is False):
        return None
    if name == "postprocess":
        raise ValueError(f"`{name}={value}`: answers are not scored behind that here")
    here = _HERE.get(name) or (READ_AS[name].here if name in READ_AS else name)
    if here not in KIND_OF_FLAG:
        raise ValueError(f"`{name}={value}`: {EXPLAINED.get(name, 'no setting of a run here says it')}")
    return here


def _value(name: str, value: object, settings: Mapping[str, Any]) -> Any:
    if value is None:
        return _OFF.get(name)
    if isinstance(value, str) and value in settings:  # steps: gen_length
        value = settings[value]
    return convert(name, str(value), KIND_OF_FLAG[name])


def _of_likelihoods(settings: Mapping[str, Any], alias: str) -> dict[str, Any]:
    """How a family's own code estimates them: LLaDA's ladders, or Dream's form."""
    batch = _BATCH.search(str(settings.get("nll", "")))
    size = settings.get("batch_of_masks") or (int(batch.group(1)) if batch else settings.get("batch_size"))
    ladder = {} if size is None else {"ladder_size": size}
    return {"estimator": "mc_bernoulli", **ladder} if alias == "dream" else {"ladder": "official", **ladder}
