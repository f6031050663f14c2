"""At which steps a circuit's gate is open, where the settings alone tell. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lm_eval_codd.settings import DecodingConfig, Family


def block_gates(config: DecodingConfig, family: Family) -> tuple[bool, ...] | None:
    """Whether the circuit acts at each step of a block; None where that depends on the answer.

    In the block paradigm every block starts with all of its positions masked, and each step commits as many as LLaDA's
    table says (`get_num_transfer_tokens`), so the mask ratios that the gate sees are the same for every block and every
    prompt: at 4 steps for a block of 32 they are 1, 3/4, 1/2 and 1/4, and a `pc_frac` of 0.3 opens the same gates as
    0.5 (the comparison is strict).

    This assumes that the backbone never predicts the mask token, which would stay masked and raise later ratios.
    Confidence thresholds commit as many as are sure, rounded counts let masks of earlier blocks compete, the full
    paradigm's windows move, and a time grid inside a block (Dream's with a cache) counts in its own way, as other
    decoders do: none of them is known here.
    A cache by itself moves no gate.
    """
    has_table = (
        config.decoder == "unmasking" and config.paradigm == "block" and (config.cache == "none" or family == "llada")
    )
    if not has_table or config.steps_follow_confidence or config.has_rounded_counts(family):
        return None
    num_steps = config.steps // config.num_blocks
    base, extra = divmod(config.block_length, num_steps)
    gates = []
    num_masked = config.block_length
    for step in range(min(num_steps, config.block_length)):
        ratio = num_masked / config.block_length
        gates.append(ratio > config.pc_frac if config.reverse_frac else ratio < config.pc_frac)
        num_masked -= base + (step < extra)
    return tuple(gates)
