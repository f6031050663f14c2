"""From the host to the device without waiting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def to_device(values: Sequence[Any], device: torch.device, dtype: torch.dtype = torch.int64) -> Tensor:
    """A tensor of plain numbers.

    `torch.tensor(values, device=...)` would return only when a GPU has done all that it was given before. A CUDA copy
    from ordinary memory has read it on return, so nothing has to be kept.
    """
    return torch.tensor(values, dtype=dtype).to(device, non_blocking=device.type == "cuda")
