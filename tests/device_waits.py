"""What a stretch of code asks of the device, and where the host would have to wait for a GPU's answer."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Under `inference_mode`, `bool` and `int` of a tensor arrive as `is_nonzero` and `item`.
WAITS = {"nonzero", "masked_select", "bincount", "_local_scalar_dense", "is_nonzero", "item", "equal", "unique"}
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
    """Counts operations, and those among them whose result the host has to see, or whose input it copies and waits.

    `torch.tensor` makes its tensor on the host here, as it does for a GPU that is not named; where `device` is, the
    copy would wait.
    """

    def __init__(self):
        super().__init__()
        self.num_waits = 0
        self.num_launches = 0
        self._is_host_tensor = False
        self._tensor = torch.tensor

    def __enter__(self):
        torch.tensor = self._on_the_host
        return super().__enter__()

    def __exit__(self, *exception):
        torch.tensor = self._tensor
        return super().__exit__(*exception)

    def _on_the_host(self, data, *, device=None, **options):
        self._is_host_tensor = device is None
        try:
            return self._tensor(data, device=device, **options)
        finally:
            self._is_host_tensor = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.num_launches += name not in ALLOCATIONS | VIEWS
        by_mask = name.startswith("index") and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool
            for index in (args[1] if isinstance(args[1], list | tuple) else ())
        )
        copied = name == "lift_fresh" and args[0].dim() > 0 and not self._is_host_tensor
        unsized = name == "repeat_interleave" and (kwargs or {}).get("output_size") is None
        self.num_waits += by_mask or copied or unsized or name in WAITS
        return func(*args, **(kwargs or {}))
