"""Sizes of a circuit, from its file's header: enough to tell whether it fits a run. Imports no tensor library."""

from __future__ import annotations

import io
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

# Names of a circuit in a folder or repository, as `circuits` looks for them.
FILE_NAMES: Final = ("circuit.safetensors", "pc_model.jpc", "model.jpc")

_LONGEST_HEADER: Final = 100 << 20
# What is longer than this in a pickle is the content of an array, and is not read. Frames of it are about 64 KiB.
_CONTENT_BYTES: Final = 1 << 18


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
        header = read_safetensors_header(path)
        positions = int(header["__metadata__"]["num_positions"])
        return CircuitHeader(positions, int(header["emission"]["shape"][-1]))
    except (KeyError, TypeError, IndexError):
        raise ValueError("is not a circuit: it has not the tables that save_circuit writes") from None


def read_safetensors_header(path: Path) -> dict[str, Any]:
    """Names, dtypes and shapes; raises `ValueError` for a file that is damaged or cut short, `OSError` for none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size, _LONGEST_HEADER):
            raise ValueError("is damaged: it has no safetensors header")
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, AttributeError, KeyError, TypeError, IndexError):
            raise ValueError("is damaged: it has no safetensors header") from None
    if size < 8 + length + max(ends, default=0):
        raise ValueError(f"is cut short: {size} bytes of {8 + length + max(ends)}")
    return header


def _of_jpc(path: Path) -> CircuitHeader:
    """From the nodes of the pickle: a leaf a position, and the largest table of one by its latents."""
    try:
        with _Skipping(path) as file:
            nodes = _Sizes(file).load()
        leaves = [node for node in nodes if node["type"] == "Input"]
        latents = [leaf.get("num_node_blocks", 0) * leaf.get("block_size", 1) for leaf in leaves]
        tokens = [
            leaf["params"].size // count
            for leaf, count in zip(leaves, latents, strict=True)
            if count and "params" in leaf
        ]
    # Damaged bytes can raise anything: each opcode of a pickle has errors of its own.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"is not a readable .jpc file; damaged or cut short? ({reason})") from None
    if not leaves:
        raise ValueError("is not a circuit: it has no leaves")
    return CircuitHeader(len(leaves), min(tokens) if tokens else None)


class _Skipping(io.FileIO):
    """A file whose long reads come back as zeros, and are skipped."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._size = path.stat().st_size

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < _CONTENT_BYTES:
            return super().read(size)
        start = self.tell()
        if start + size > self._size:
            raise EOFError("the file ends in an array")
        self.seek(size, io.SEEK_CUR)
        return bytes(size)

    def readinto(self, buffer: Any) -> int:
        if len(buffer) < _CONTENT_BYTES:
            return super().readinto(buffer)
        self.read(len(buffer))
        return len(buffer)


class _Sizes(pickle.Unpickler):
    """Unpickles plain values, and an array as its size alone. Every name is a stand-in: nothing is called."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] != "numpy":
            raise ValueError(f"refused: it asks to load `{module}.{name}`, and a circuit needs only arrays")
        return _StandIn()

    def persistent_load(self, pid: Any) -> Any:
        raise ValueError("refused: it refers to something outside of itself")


class _StandIn:
    """In place of whatever makes an array; its state or its arguments tell the shape."""

    size = 0

    def __call__(self, *arguments: Any) -> _StandIn:
        made = _StandIn()
        made._look(arguments)
        return made

    def __setstate__(self, state: Any) -> None:
        self._look(state)

    def _look(self, values: Any) -> None:
        """The shape is the one tuple of whole numbers among the values."""
        for value in values if isinstance(values, tuple) else ():
            if isinstance(value, tuple) and value and all(isinstance(length, int) for length in value):
                self.size = 1
                for length in value:
                    self.size *= length
