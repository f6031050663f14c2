"""Tensors into a file, whole or not at all, for everybody who may read the folder's other files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["save_tensors"]


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file in one step; one that is there is replaced.

    The file may be read by whom the user's umask says: safetensors alone leaves it to its owner, and a checkpoint on
    a shared disk is for others too.
    """
    from safetensors.torch import save_file

    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.touch()
        mode = partial.stat().st_mode & 0o777
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            partial,
            None if metadata is None else dict(metadata),
        )
        partial.chmod(mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
