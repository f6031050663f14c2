"""Where weights go, and in which dtype: from the words that users give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch

from lm_eval_codd.backbones.checkpoint import CheckpointError
from lm_eval_codd.settings import unknown_value

if TYPE_CHECKING:
    from lm_eval_codd.backbones.checkpoint import Checkpoint

_DTYPES: Final = {name: getattr(torch, name) for name in ("bfloat16", "float16", "float32", "float64")}
# What torch and other projects call them.
_SHORT_DTYPES: Final = {
    "half": "float16",
    "fp16": "float16",
    "bf16": "bfloat16",
    "float": "float32",
    "fp32": "float32",
    "double": "float64",
}
# The words of transformers, which takes a device's name too.
_DEVICE_MAPS: Final = ("auto", "balanced", "balanced_low_0", "sequential")


def default_dtype(checkpoint: Checkpoint) -> torch.dtype:
    """What config.json says, else what is stored: the dtype that `load_backbone` takes by itself."""
    configured = checkpoint.config.get("torch_dtype") or checkpoint.config.get("dtype")
    return parse_dtype(configured) or _DTYPES[checkpoint.stored_dtype]


def parse_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """The dtype of a name; None for None and `auto`. Raises `CheckpointError` for others."""
    if dtype in (None, "auto"):
        return None
    name = _SHORT_DTYPES.get(_name(dtype), _name(dtype))
    if name not in _DTYPES:
        raise CheckpointError(unknown_value("dtype", name, ["auto", *_DTYPES]))
    return _DTYPES[name]


def place(device: str | torch.device | None, device_map: str | dict[str, Any] | None) -> str | dict[str, Any]:
    """A `device_map` of transformers: the given one, or all of the model on the device of `find_device`."""
    if device_map is not None:
        if device is not None:
            raise CheckpointError(f"`device={device}` and `device_map={device_map}` exclude each other; give one")
        if isinstance(device_map, str) and device_map not in _DEVICE_MAPS:
            try:
                torch.device(device_map)
            except RuntimeError:
                raise CheckpointError(
                    unknown_value("device_map", device_map, (*_DEVICE_MAPS, "cpu", "cuda:0"))
                ) from None
        return device_map
    # Weights then go straight to their device, with no copy of the model in main memory first.
    return {"": find_device(device)}


def find_device(device: str | torch.device | None) -> torch.device:
    """The device of a name; None: a GPU where there is one. Raises `CheckpointError` where it cannot be used."""
    try:
        found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise CheckpointError(unknown_value("device", device, ["cpu", "cuda", "cuda:0", "cuda:1"])) from None
    if found.type not in ("cpu", "cuda"):
        raise CheckpointError(f"`device={found}` cannot decode, which needs float64; use cpu, cuda or cuda:<id>")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise CheckpointError(
            f"`device={found}` does not exist: {torch.cuda.device_count()} GPU(s) are visible; device=cpu always works"
        )
    return found


def _name(dtype: str | torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
