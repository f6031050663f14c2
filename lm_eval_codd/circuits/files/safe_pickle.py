"""Arrays out of a pickle, without running it.

Unpickling calls whatever names the file asks for. The unpickler here resolves none: the few names that NumPy's arrays
are made of get stand-ins that check dtype and shape and view the bytes, and any other name is refused before anything
is called. What comes out is lists, tuples, dicts, numbers, text, bytes and `StoredArray`.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

import numpy as np

_DTYPES: Final = ("b1", "f4", "f8", "i4", "i8")


class RefusedPickleError(ValueError):
    """The pickle asks for something that is not an array."""


def load_arrays(file: BinaryIO) -> Any:
    """Unpickle plain values and arrays from an open file.

    Raises:
        RefusedPickleError: the file asks for anything else; nothing has been called.
        Exception: any other, from a file that is damaged or cut short.
    """
    return _ArrayUnpickler(file).load()


def class_name(blob: bytes) -> str | None:
    """Name of the first class that a pickle refers to, by scanning its opcodes; None when there is none."""
    texts: list[str] = []
    for opcode, argument, _ in pickletools.genops(blob):
        if opcode.name == "GLOBAL":
            return str(argument).split(" ")[-1]
        if opcode.name == "STACK_GLOBAL" and texts:
            return texts[-1]
        if isinstance(argument, str):
            texts.append(argument)
    return None


class StoredArray:
    """An array of the pickle; `value` views the file's bytes, so it cannot be written to."""

    __slots__ = ("value",)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, raw = state
        if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray):
            raise RefusedPickleError("refused: it holds an array that is not plain bytes")
        self.value: np.ndarray = np.frombuffer(raw, dtype.numpy()).reshape(shape, order="F" if is_fortran else "C")


class _Stub:
    """A stand-in for a name in the pickle. Its state cannot be set, so a file cannot change it."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise RefusedPickleError("refused: it sets the state of something that is not an array")


class _Dtype:
    __slots__ = ("code", "order")

    def __init__(self, code: object) -> None:
        if code not in _DTYPES:
            raise RefusedPickleError(f"refused: it holds an array of dtype {code!r}; known are {', '.join(_DTYPES)}")
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def numpy(self) -> np.dtype:
        return np.dtype(self.order + self.code)


class _NdarrayName(_Stub):
    __slots__ = ()


class _MakeDtype(_Stub):
    __slots__ = ()

    def __call__(self, code: object, *_: object) -> _Dtype:
        return _Dtype(code)


class _MakeArray(_Stub):
    """`_reconstruct(ndarray, (0,), b"b")`: an empty array, filled by its state."""

    __slots__ = ()

    def __call__(self, *_: object) -> StoredArray:
        return StoredArray()


class _MakeArrayFromBuffer(_Stub):
    """`_frombuffer(bytes, dtype, shape, order)`: an array in pickle protocol 5."""

    __slots__ = ()

    def __call__(self, raw: object, dtype: object, shape: object, order: object) -> StoredArray:
        array = StoredArray()
        array.__setstate__((1, shape, dtype, order == "F", raw))
        return array


_NAMES: Final[Mapping[tuple[str, str], type]] = {
    ("numpy", "ndarray"): _NdarrayName,
    ("numpy", "dtype"): _MakeDtype,
    ("numpy._core.multiarray", "_reconstruct"): _MakeArray,
    ("numpy.core.multiarray", "_reconstruct"): _MakeArray,
    ("numpy._core.numeric", "_frombuffer"): _MakeArrayFromBuffer,
    ("numpy.core.numeric", "_frombuffer"): _MakeArrayFromBuffer,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles lists, dicts, numbers, text and arrays; every other name is refused before anything is called."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise RefusedPickleError(f"refused: it asks to load `{module}.{name}`, and a circuit needs only arrays")
        return _NAMES[module, name]()
