"""Classifier-free guidance: the backbone asked twice, with the prompt and with the prompt masked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.protocols import Backbone


def step_logits(backbone: Backbone, canvas: Canvas, columns: Tensor, cfg_scale: float) -> Tensor:
    """Float32 logits [B, P, V] at the answers' `columns` [B, P].

    With `cfg_scale` > 0: u + (cfg_scale + 1)(c - u), u from the canvas whose prompt is masked (LLaDA). Both halves go
    through the network in one evaluation.
    """
    positions = canvas.answer_start + columns
    if not cfg_scale:
        # A copy, also where they are float32: the circuit writes into them, and a backbone may keep its own.
        return backbone.logits(canvas.tokens, canvas.attention_mask, positions).to(torch.float32, copy=True)
    without_prompt = canvas.tokens.clone()
    without_prompt[:, : canvas.answer_start] = canvas.ids.mask
    both = torch.cat([canvas.tokens, without_prompt])
    attention_mask = None if canvas.attention_mask is None else canvas.attention_mask.repeat(2, 1)
    conditional, unconditional = backbone.logits(both, attention_mask, positions.repeat(2, 1)).float().chunk(2)
    return unconditional + (cfg_scale + 1) * (conditional - unconditional)
