"""NumPy's arrays as a pickle writes them: the names that it asks for, what calling these makes, and its states."""

from __future__ import annotations

from math import prod
from typing import Final

from lm_eval_codd.terminal.clean_text import shortened

_MAX_DIMENSIONS: Final = 4
_ITEM_BYTES: Final = {"b1": 1, "f4": 4, "f8": 8, "i4": 4, "i8": 8}


class RefusedPickleError(ValueError):
    """The pickle is damaged, asks for something that is not an array, or is larger than any circuit. One line."""


class StoredArray:
    """An array of the pickle.

    Attributes:
        shape: its lengths.
        dtype: as NumPy spells it, byte order first: `<f4`.
        is_fortran: whether its first axis is the one that lies together.
        raw: its bytes, a view of the file where they are many.
    """

    __slots__ = ("dtype", "is_fortran", "raw", "shape")

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.dtype = "<f4"
        self.is_fortran = False
        self.raw: bytes | memoryview = b""

    @property
    def size(self) -> int:
        """Its number of entries."""
        return prod(self.shape)


class _Dtype:
    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "<"


class _Name:
    """A name that the pickle may ask for; nothing but a call takes one."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


_NDARRAY, _MAKE_DTYPE, _MAKE_ARRAY, _FROM_BUFFER = "ndarray", "dtype", "_reconstruct", "_frombuffer"
_NAMES: Final = {
    ("numpy", "ndarray"): _Name(_NDARRAY),
    ("numpy", "dtype"): _Name(_MAKE_DTYPE),
    ("numpy._core.multiarray", "_reconstruct"): _Name(_MAKE_ARRAY),
    ("numpy.core.multiarray", "_reconstruct"): _Name(_MAKE_ARRAY),
    ("numpy._core.numeric", "_frombuffer"): _Name(_FROM_BUFFER),
    ("numpy.core.numeric", "_frombuffer"): _Name(_FROM_BUFFER),
}


class Arrays:
    """The arrays of one pickle, whose bytes are together no more than the file's."""

    def __init__(self, file_bytes: int) -> None:
        self._file_bytes = file_bytes
        self._array_bytes = 0

    def named(self, module: object, name: object) -> object:
        """What a name stands for, to be called.

        Raises:
            RefusedPickleError: it is of nothing that makes an array.
        """
        if not isinstance(module, str) or not isinstance(name, str):
            raise damaged("a name is no text")
        found = _NAMES.get((module, name))
        if found is None:
            raise RefusedPickleError(
                f"refused: it asks to load `{shown(module)[1:-1]}.{shown(name)[1:-1]}`, and a circuit needs only arrays"
            )
        return found

    def called(self, name: object, arguments: object) -> object:
        """What calling a name makes.

        Raises:
            RefusedPickleError: it is no array, of a dtype that no circuit has, damaged, or larger than the file.
        """
        kind = name.name if isinstance(name, _Name) else None
        if not isinstance(arguments, tuple) or kind in (None, _NDARRAY):
            raise RefusedPickleError("refused: it calls something that makes no array")
        if kind == _MAKE_ARRAY:  # `_reconstruct(ndarray, (0,), b"b")`: an empty array, filled by its state
            return StoredArray()
        if kind == _MAKE_DTYPE:
            code = arguments[0] if arguments else None
            if not isinstance(code, str) or code not in _ITEM_BYTES:
                raise RefusedPickleError(
                    f"refused: it holds an array of dtype {shown(code)}; known are {', '.join(_ITEM_BYTES)}"
                )
            return _Dtype(code)
        # `_frombuffer(bytes, dtype, shape, order)`: an array in pickle protocol 5
        if len(arguments) != 4:
            raise damaged("an array lacks a part")
        buffer, dtype, shape, order = arguments
        array = StoredArray()
        self._fill(array, shape, dtype, order == "F", buffer)
        return array

    def set_state(self, target: object, state: object) -> None:
        """Give what a call has made its state.

        Raises:
            RefusedPickleError: it is no array, its bytes do not fit its shape, or are more than the file's.
        """
        if isinstance(target, StoredArray) and isinstance(state, tuple) and len(state) == 5:
            _, shape, dtype, is_fortran, buffer = state
            self._fill(target, shape, dtype, bool(is_fortran), buffer)
        elif isinstance(target, _Dtype) and isinstance(state, tuple) and len(state) > 1:
            target.order = ">" if isinstance(state[1], str) and state[1] == ">" else "<"
        else:
            raise RefusedPickleError("refused: it sets the state of something that is not an array")

    def _fill(self, array: StoredArray, shape: object, dtype: object, is_fortran: bool, buffer: object) -> None:
        if not isinstance(dtype, _Dtype) or not isinstance(buffer, bytes | memoryview):
            raise RefusedPickleError("refused: it holds an array that is not plain bytes")
        lengths = shape if isinstance(shape, tuple) else (-1,)
        longest = self._file_bytes
        if len(lengths) > _MAX_DIMENSIONS or not all(type(one) is int and 0 <= one <= longest for one in lengths):
            raise RefusedPickleError(f"refused: an array whose shape is {shown(shape)}")
        if prod(lengths) * _ITEM_BYTES[dtype.code] != len(buffer):
            raise damaged(f"an array of shape {lengths} has {len(buffer)} bytes")
        self._array_bytes += len(buffer)
        if self._array_bytes > longest:
            raise RefusedPickleError("refused: its arrays share their bytes, so that they are more than the file")
        array.shape, array.dtype = lengths, dtype.order + dtype.code
        array.is_fortran, array.raw = is_fortran, buffer


def damaged(reason: str) -> RefusedPickleError:
    """What is raised where the pickle is no whole one."""
    return RefusedPickleError(f"not readable, damaged or cut short ({reason}); fetch the file again")


def shown(value: object) -> str:
    """A value of the pickle for a message: what it is, and never its content at length."""
    if isinstance(value, list | tuple | dict):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, StoredArray):
        return f"an array of shape {value.shape}"
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, str | bytes):
        return shortened(value[:60])
    return "something else"
