"""Sizes of a circuit, from its file's header: enough to tell whether it fits a run. Imports no tensor library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lm_eval_codd.files.pickled_arrays import RefusedPickleError, StoredArray, load_arrays
from lm_eval_codd.files.untrusted import num_positions, read_safetensors_header

# Names of a circuit in a folder or repository, as `circuits` looks for them.
FILE_NAMES: Final = ("circuit.safetensors", "pc_model.jpc", "model.jpc")

_LONGEST_REASON: Final = 300


@dataclass(frozen=True)
class CircuitHeader:
    """Positions of a circuit's window, and tokens of its vocabulary; None where the header does not say."""

    num_positions: int | None
    vocab_size: int | None


def find_circuit(path: Path) -> Path:
    """The file of a circuit in a folder, or the file itself; raises `ValueError` where there is none."""
    if not path.is_dir():
        return path
    found = next((path / name for name in FILE_NAMES if (path / name).is_file()), None)
    if found is None:
        raise ValueError(f"holds no circuit; it must have one of {', '.join(FILE_NAMES)}")
    return found


def read_header(path: Path) -> CircuitHeader:
    """Read the sizes of a .safetensors or .jpc circuit.

    Raises:
        ValueError: it is empty, damaged, or no circuit; the text completes "PATH ...".
    """
    try:
        if path.stat().st_size == 0:
            raise ValueError("is empty")
        if path.suffix == ".safetensors":
            return _of_safetensors(path)
        if path.suffix == ".jpc":
            return _of_jpc(path)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    raise ValueError("is no circuit; its name must end in .jpc or .safetensors")


def _of_safetensors(path: Path) -> CircuitHeader:
    try:
        tensors, metadata = read_safetensors_header(path)
        positions = num_positions(metadata["num_positions"])
        return CircuitHeader(positions, tensors["emission"].shape[-1])
    except (KeyError, IndexError):
        raise ValueError("is not a circuit: it has not the tables that save_circuit writes") from None


def _of_jpc(path: Path) -> CircuitHeader:
    """From the nodes of the pickle: a leaf a position, and the smallest table of one by its latents."""
    try:
        nodes = load_arrays(path)
    except RefusedPickleError as error:
        raise ValueError(f"is not a readable .jpc file: {str(error)[:_LONGEST_REASON]}") from None
    leaves = [node for node in nodes if isinstance(node, dict)] if isinstance(nodes, list) else []
    leaves = [leaf for leaf in leaves if leaf.get("type") == "Input"]
    if not leaves:
        raise ValueError("is not a circuit: it has no leaves")
    tokens = []
    for leaf in leaves:
        params, count = leaf.get("params"), leaf.get("num_node_blocks")
        size = leaf.get("block_size", 1)
        if isinstance(params, StoredArray) and type(count) is int and type(size) is int and count * size > 0:
            tokens.append(params.size // (count * size))
    return CircuitHeader(len(leaves), min(tokens) if tokens else None)
