"""What a stretch of code asks of the device, and where the host would have to wait for a GPU's answer."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

ALLOCATIONS = {"empty", "new_empty"}
VIEWS = {
    "view",
    "_unsafe_view",
    "expand",
    "permute",
    "select",
    "slice",
    "split",
    "t",
    "transpose",
    "unsqueeze",
    "detach",
}


class Operations(TorchDispatchMode):
    """Counts operations, and those among them whose result the host has to see."""

    def __init__(self):
        super().__init__()
        self.num_waits = 0
        self.num_launches = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.num_launches += name not in ALLOCATIONS | VIEWS
        by_mask = name.startswith("index") and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool
            for index in (args[1] if isinstance(args[1], list | tuple) else ())
        )
        self.num_waits += by_mask or name in ("nonzero", "_local_scalar_dense", "masked_select", "bincount")
        return func(*args, **(kwargs or {}))
