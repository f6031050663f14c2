"""JSON files and safetensors headers that anyone may have written, read without trusting what they say.

Every error is a `ValueError` whose text completes "FILE ...". Imports nothing heavy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final, NamedTuple

__all__ = ["StoredTensor", "num_positions", "read_object", "read_safetensors_header", "shard_names"]

# The largest file of a published checkpoint, tokenizer.json with 262,144 tokens, has 33 MB.
_LONGEST_JSON: Final = 1 << 28
# The limit of the safetensors library itself.
_LONGEST_HEADER: Final = 100_000_000
_METADATA: Final = "__metadata__"
# No backbone sees more at once.
_MOST_POSITIONS: Final = 1 << 20


class StoredTensor(NamedTuple):
    """A tensor by its file's header: its dtype as safetensors spells it (`BF16`), and its lengths."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its number of entries."""
        return prod(self.shape)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises `ValueError` for what is none, `OSError` for a file that cannot be read."""
    size = path.stat().st_size
    if size > _LONGEST_JSON:
        raise ValueError(f"has {size} bytes, and no JSON file of a checkpoint has more than {_LONGEST_JSON}")
    return _object(path.read_bytes())


def read_safetensors_header(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """A safetensors file's tensors by their names, and its metadata.

    Raises:
        ValueError: it is damaged or cut short.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size, _LONGEST_HEADER):
            raise ValueError("is damaged: it has no safetensors header")
        try:
            header = _object(file.read(length))
        except ValueError as error:
            raise ValueError(f"is damaged: its safetensors header {error}") from None
    metadata = header.pop(_METADATA, None)
    tensors = {name: _tensor(name, entry, 8 + length, size) for name, entry in header.items()}
    texts = metadata.items() if isinstance(metadata, dict) else ()
    return tensors, {key: text for key, text in texts if isinstance(text, str)}


def shard_names(index: Mapping[str, Any]) -> list[str]:
    """The files that the `weight_map` of an index names, each once: plain names, so that they lie in its own folder.

    Raises:
        ValueError: there is no such map, or it names something else.
    """
    shards = index.get("weight_map")
    if not shards or not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise ValueError("has no `weight_map` that names its shards")
    names = sorted(set(shards.values()))
    for name in names:
        if not _is_plain(name):
            raise ValueError(f"has the shard {name[:80]!r} in its `weight_map`, which is no file of its own folder")
    return names


def num_positions(text: str) -> int:
    """A circuit's number of positions, as its metadata says it.

    Raises:
        ValueError: it is no number, or one that no circuit has.
    """
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or not 0 < int(text) <= _MOST_POSITIONS:
        raise ValueError(f"has {text[:20]!r} for `num_positions`, which is from 1 to {_MOST_POSITIONS}")
    return int(text)


def _is_plain(name: str) -> bool:
    """Whether it is the name of a safetensors file, and no way to another folder, on any system."""
    plain = PurePosixPath(name).name == name and PureWindowsPath(name).name == name
    return plain and name.isprintable() and name.endswith(".safetensors")


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except RecursionError:
        raise ValueError("is not valid JSON: it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"is not valid JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError("holds no JSON object")
    return found


def _tensor(name: str, entry: Any, start: int, size: int) -> StoredTensor:
    what = f"is damaged: its tensor {name[:80]!r} has no"
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        raise ValueError(f"{what} dtype")
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not isinstance(shape, list) or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"{what} shape")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(offset) is int for offset in offsets):
        raise ValueError(f"{what} place in it")
    if not 0 <= offsets[0] <= offsets[1]:
        raise ValueError(f"{what} place in it")
    if start + offsets[1] > size:
        raise ValueError(f"is cut short: {size} bytes of {start + offsets[1]}")
    return StoredTensor(entry["dtype"][:16], tuple(shape))
