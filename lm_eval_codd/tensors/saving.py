"""Tensors into a file, whole or not at all, for everybody who may read the folder's other files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lm_eval_codd.files.outputs import replacing

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["save_tensors"]


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file in one step; one that is there is replaced."""
    from safetensors.torch import save_file

    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with replacing(path) as partial:
        save_file(contiguous, partial, None if metadata is None else dict(metadata))
