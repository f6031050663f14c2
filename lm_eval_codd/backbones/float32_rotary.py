"""Rotary embedding in float32 under a bfloat16 or float16 model, as LLaDA's `rope_full_precision` has it.

Llama rotates queries and keys in the model's own dtype, which moves bfloat16 logits by 0.06 on average. Two public
hooks of transformers give the original back without another copy of the attention layer: the rotary module is asked
for float32 angles, which promotes queries and keys, and the attention function casts the rotated ones back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from torch import Tensor, nn

ATTENTION: Final = "sdpa_float32_rotary"


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    return sdpa_attention_forward(module, query.to(value.dtype), key.to(value.dtype), value, attention_mask, **kwargs)


AttentionInterface.register(ATTENTION, _attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def rotate_in_float32(trunk: nn.Module) -> None:
    """Give a Llama trunk, loaded with attention `ATTENTION`, its rotary angles in float32."""

    def with_float32_dtype(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # Of the hidden states the rotary module reads only dtype and device.
        return (args[0].new_empty(0, dtype=torch.float32), *args[1:])

    trunk.rotary_emb.register_forward_pre_hook(with_float32_dtype)
