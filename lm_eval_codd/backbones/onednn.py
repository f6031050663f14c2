"""float32 matrix products on the CPU through oneDNN, as PyTorch itself does in bfloat16.

In float32 PyTorch asks MKL, whose kernels use half of what an AMD processor has: measured there, a language-model head
of 126464 columns takes 2.7 times as long at 32 rows, and the projections of a layer twice as long. Both add up in
float32, in another order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class OneDnnLinear(nn.Linear):
    """A linear layer for inference, computed by oneDNN."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features], without a gradient."""
        # The operator that torch.compile puts in the place of a linear layer.
        return torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")


def use_onednn(model: nn.Module) -> None:
    """Turn the model's float32 linear layers on the CPU into `OneDnnLinear`, weights untouched, where MKL has them."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return
    # Not a public operator: a PyTorch without it computes as it always does.
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return
    for module in model.modules():
        plain = type(module) is nn.Linear
        if plain and module.weight.device.type == "cpu" and module.weight.dtype == torch.float32:
            module.__class__ = OneDnnLinear
