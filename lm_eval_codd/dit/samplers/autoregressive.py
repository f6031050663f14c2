"""Sampling token by token, left to right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.dit.network import Cache
from lm_eval_codd.dit.requirements import check_finite
from lm_eval_codd.dit.samplers.draws import by_inverse, float32_numbers
from lm_eval_codd.tensors.noise import Stream, gumbel, uniforms

if TYPE_CHECKING:
    from collections.abc import Callable

    from lm_eval_codd.dit.model import DiT
    from lm_eval_codd.dit.samplers.clamp import Clamp


def left_to_right(
    dit: DiT,
    first: Tensor,
    length: int,
    keys: Tensor,
    use_float64: bool,
    noise: Callable[[int], Tensor] | None,
    on_step: Callable[[int, Tensor, Tensor], None] | None,
    clamp: Clamp,
    on_pass: Callable[[], None],
) -> Tensor:
    """[B, length] ids after the first ones [B]; no end token stops a row.

    Args:
        dit: of algo ar.
        first: [B] int64.
        length: of a row, the first id among it.
        keys: [B] of the rows.
        use_float64: draw by inverse CDF in float64, or as float32 noise does.
        noise: Gumbel noise [B, V] of a step, in place of the rows' own draws.
        on_step: called with the step, p [B, V] and the ids so far.
        clamp: ids that are given.
        on_pass: called after each step.
    """
    assert dit.autoregressive is not None
    tokens = clamp.column(first, 0)[:, None]
    cache = Cache(dit.config, len(first), length, dit.network.vocab_embed.embedding)
    column, summed = torch.zeros_like(first), torch.zeros_like(first, dtype=torch.float64)
    for step in range(length - 1):
        hidden = dit.network.hidden(tokens[:, -1:], None, cache)[:, 0]
        log_next = dit.autoregressive.log_next(dit.head(hidden))
        summed += log_next[:, 0]  # no number where any of the row's logits was none
        number = torch.full_like(first, step)
        if noise is not None:
            given = noise(step).to(dit.device)
            drawn = (log_next.to(given.dtype) + given).argmax(dim=-1)
        elif use_float64:
            own = uniforms(keys, Stream.TOKEN, number, column[:, None])[:, 0]
            drawn = by_inverse(log_next.double().exp(), own, None)[0]
        else:
            coarse = float32_numbers(keys, number, column, dit.vocab_size)
            drawn = (log_next.float() + gumbel(coarse.clamp(min=2**-25))).argmax(dim=-1)
        tokens = torch.cat([tokens, clamp.column(drawn, step + 1)[:, None]], dim=1)
        on_pass()
        if on_step is not None:
            on_step(step, log_next.exp(), tokens)
    check_finite(dit, ~summed.isnan().any())
    return tokens
