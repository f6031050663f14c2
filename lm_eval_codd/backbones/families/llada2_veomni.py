"""LLaDA2's checkpoints as their training saves them (dFactory, VeOmni): a layer's experts in one tensor a matrix."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import torch

from lm_eval_codd.backbones.families.llada2 import LLADA2, split_attention

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.backbones.layout import Layout

_GATES: Final = re.compile(r"(?P<experts>.+\.mlp\.experts)\.gate_proj")


def _convert(tensors: dict[str, Tensor], config: Any) -> dict[str, Tensor]:
    """Gates [E, F, H] and ups [E, F, H] in one tensor, as GLM-4-MoE has them; the downs [E, H, F] are so already."""
    joined = split_attention(tensors, config)
    for match in filter(None, map(_GATES.fullmatch, tensors)):
        up = f"{match['experts']}.up_proj"
        if up in joined:
            both = joined.pop(match[0]), joined.pop(up)
            joined[f"{match['experts']}.gate_up_proj"] = torch.cat(both, dim=1)
    return joined


LLADA2_VEOMNI: Final[Layout] = replace(
    LLADA2,
    model_type="llada2_moe_veomni",
    examples="LLaDA2 with merged experts",
    convert=_convert,
    goldens=(),
    unverified="files of this form were not seen; those of llada2_moe with their experts put together load alike",
)
