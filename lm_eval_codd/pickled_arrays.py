"""Arrays out of a pickle, without unpickling it.

Unpickling calls whatever names the file asks for, and a few bytes of it can take all memory. This reads the opcodes
itself, knows only those that lists, dicts, numbers, text, bytes and NumPy's arrays are written with, and refuses every
other one, and every name but those of NumPy's own constructors. What it makes is bounded by the file: an array is a
view of the file's bytes and no bytes belong to two, the memo is a list that grows by one, and opcodes are counted.

Imports no NumPy: sizes can be read where arrays are not needed.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable
from math import prod
from typing import Any, Final

from lm_eval_codd.clean_text import shortened

__all__ = ["RefusedPickleError", "StoredArray", "load_arrays", "shown"]

# A circuit of 32 positions has 3,375 of them (PyJuice 2.6.3), so these are 900 positions or more.
MAX_OPCODES: Final = 1 << 17
_MAX_TEXT: Final = 1 << 10
# What is longer stays in the file, as a view.
_SHORT_BYTES: Final = 1 << 12
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


_MARK: Final = object()
_NDARRAY, _MAKE_DTYPE, _MAKE_ARRAY, _FROM_BUFFER = "ndarray", "dtype", "_reconstruct", "_frombuffer"


class _Name:
    """A name that the pickle may ask for; nothing but REDUCE takes one."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


_NAMES: Final = {
    ("numpy", "ndarray"): _Name(_NDARRAY),
    ("numpy", "dtype"): _Name(_MAKE_DTYPE),
    ("numpy._core.multiarray", "_reconstruct"): _Name(_MAKE_ARRAY),
    ("numpy.core.multiarray", "_reconstruct"): _Name(_MAKE_ARRAY),
    ("numpy._core.numeric", "_frombuffer"): _Name(_FROM_BUFFER),
    ("numpy.core.numeric", "_frombuffer"): _Name(_FROM_BUFFER),
}


def load_arrays(path: str | os.PathLike[str]) -> Any:
    """The lists, tuples, dicts, numbers, text, bytes and `StoredArray`s of a pickle.

    Raises:
        RefusedPickleError: it is damaged or holds anything else; nothing has been called.
        OSError: it cannot be opened.
    """
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise _damaged("it is empty")
        # Stays open as long as an array views it.
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return _Reader(content).load()


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


class _Reader:
    """The pickle machine: a stack, a memo, and where in the file it is."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._at = 0
        self._stack: list[Any] = []
        self._memo: list[Any] = []
        self._array_bytes = 0

    def load(self) -> Any:
        try:
            return self._run()
        except (IndexError, struct.error):
            raise _damaged("it is cut short, or an opcode lacks its values") from None
        except UnicodeDecodeError:
            raise _damaged("a text is not UTF-8") from None

    def _run(self) -> Any:
        content, opcodes = self._content, _OPCODES
        for _ in range(MAX_OPCODES):
            code = content[self._at]
            self._at += 1
            if code == _STOP:
                return self.pop()
            step = opcodes.get(code)
            if step is None and self._at == 1:
                raise _damaged("it does not begin as one; a pointer of Git LFS becomes the file by `git lfs pull`")
            if step is None:
                raise RefusedPickleError(f"refused: opcode {bytes([code])!r}, which no circuit is written with")
            step(self)
        raise RefusedPickleError(f"refused: it has more than {MAX_OPCODES} opcodes, and a circuit has some thousands")

    # Bytes of the file.

    def take(self, count: int) -> memoryview:
        end = self._at + count
        if end > len(self._content):
            raise _damaged("it is cut short")
        taken = self._content[self._at : end]
        self._at = end
        return taken

    def skip(self, count: int) -> None:
        self.take(count)

    def number(self, form: str) -> int:
        (value,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return int(value)

    def line(self) -> str:
        """Text up to the next line break, as the oldest protocols write it."""
        near = bytes(self._content[self._at : self._at + _MAX_TEXT])
        text, found, _ = near.partition(b"\n")
        if not found:
            raise _damaged("a name has no end")
        self._at += len(text) + 1
        return text.decode()

    def decimal(self) -> int:
        text = self.line()
        if not text.isascii() or not text.isdecimal() or len(text) > 9:
            raise _damaged("a number is none")
        return int(text)

    # The stack and the memo.

    def pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise _damaged("an opcode lacks its values")
        return value

    def top(self) -> Any:
        value = self._stack[-1]
        if value is _MARK:
            raise _damaged("an opcode lacks its values")
        return value

    def since_mark(self) -> list[Any]:
        values: list[Any] = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        values.reverse()
        return values

    def remember(self, index: int | None = None) -> None:
        if index is not None and index > len(self._memo):
            raise RefusedPickleError(f"refused: it remembers value {index} where it has {len(self._memo)}")
        if index is None or index == len(self._memo):
            self._memo.append(self.top())
        else:
            self._memo[index] = self.top()

    def recall(self, index: int) -> None:
        if not 0 <= index < len(self._memo):
            raise _damaged(f"it recalls value {index} of {len(self._memo)}")
        self._stack.append(self._memo[index])

    # What opcodes make.

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def integer(self) -> None:
        """LONG1: little-endian, of a length of its own."""
        length = self.number("<B")
        if length > 8:
            raise RefusedPickleError(f"refused: a whole number of {length} bytes")
        self.push(int.from_bytes(self.take(length), "little", signed=True))

    def text(self, form: str) -> None:
        length = self.number(form)
        if length > _MAX_TEXT:
            raise RefusedPickleError(f"refused: a text of {length} bytes, and a circuit has names of some dozens")
        self.push(bytes(self.take(length)).decode())

    def raw(self, form: str) -> None:
        taken = self.take(self.number(form))
        self.push(bytes(taken) if len(taken) <= _SHORT_BYTES else taken)

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if type(target) is not list:
            raise _damaged("it appends to what is no list")
        target.extend(values)

    def set_items(self, items: list[Any]) -> None:
        target = self.top()
        # Hashing a tuple of tuples of tuples can take for ever; a circuit's keys are names.
        if type(target) is not dict or len(items) % 2 or not all(type(key) is str for key in items[::2]):
            raise RefusedPickleError("refused: a dict whose keys are not names")
        target.update(zip(items[::2], items[1::2], strict=True))

    def name(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise _damaged("a name is no text")
        found = _NAMES.get((module, name))
        if found is None:
            raise RefusedPickleError(
                f"refused: it asks to load `{shown(module)[1:-1]}.{shown(name)[1:-1]}`, and a circuit needs only arrays"
            )
        self.push(found)

    def reduce(self) -> None:
        arguments, called = self.pop(), self.pop()
        kind = called.name if isinstance(called, _Name) else None
        if not isinstance(arguments, tuple) or kind in (None, _NDARRAY):
            raise RefusedPickleError("refused: it calls something that makes no array")
        if kind == _MAKE_ARRAY:  # `_reconstruct(ndarray, (0,), b"b")`: an empty array, filled by its state
            self.push(StoredArray())
        elif kind == _MAKE_DTYPE:
            code = arguments[0] if arguments else None
            if not isinstance(code, str) or code not in _ITEM_BYTES:
                raise RefusedPickleError(
                    f"refused: it holds an array of dtype {shown(code)}; known are {', '.join(_ITEM_BYTES)}"
                )
            self.push(_Dtype(code))
        else:  # `_frombuffer(bytes, dtype, shape, order)`: an array in pickle protocol 5
            if len(arguments) != 4:
                raise _damaged("an array lacks a part")
            buffer, dtype, shape, order = arguments
            self.push(StoredArray())
            self._fill(self.top(), shape, dtype, order == "F", buffer)

    def build(self) -> None:
        state, target = self.pop(), self.top()
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
        longest = len(self._content)
        if len(lengths) > _MAX_DIMENSIONS or not all(type(one) is int and 0 <= one <= longest for one in lengths):
            raise RefusedPickleError(f"refused: an array whose shape is {shown(shape)}")
        if prod(lengths) * _ITEM_BYTES[dtype.code] != len(buffer):
            raise _damaged(f"an array of shape {lengths} has {len(buffer)} bytes")
        self._array_bytes += len(buffer)
        if self._array_bytes > longest:
            raise RefusedPickleError("refused: its arrays share their bytes, so that they are more than the file")
        array.shape, array.dtype = lengths, dtype.order + dtype.code
        array.is_fortran, array.raw = is_fortran, buffer


def _damaged(reason: str) -> RefusedPickleError:
    return RefusedPickleError(f"not readable, damaged or cut short ({reason}); fetch the file again")


_STOP: Final = ord(".")
# By the byte that stands in the file; the names beside them are those of `pickletools`.
_OPCODES: Final[dict[int, Callable[[_Reader], None]]] = {
    0x80: lambda reader: reader.skip(1),  # PROTO
    0x95: lambda reader: reader.skip(8),  # FRAME
    ord("("): lambda reader: reader.push(_MARK),
    ord("q"): lambda reader: reader.remember(reader.number("<B")),  # BINPUT
    ord("r"): lambda reader: reader.remember(reader.number("<I")),  # LONG_BINPUT
    ord("p"): lambda reader: reader.remember(reader.decimal()),  # PUT
    0x94: lambda reader: reader.remember(),  # MEMOIZE
    ord("h"): lambda reader: reader.recall(reader.number("<B")),  # BINGET
    ord("j"): lambda reader: reader.recall(reader.number("<I")),  # LONG_BINGET
    ord("N"): lambda reader: reader.push(None),
    0x88: lambda reader: reader.push(True),  # NEWTRUE
    0x89: lambda reader: reader.push(False),  # NEWFALSE
    ord("K"): lambda reader: reader.push(reader.number("<B")),  # BININT1
    ord("M"): lambda reader: reader.push(reader.number("<H")),  # BININT2
    ord("J"): lambda reader: reader.push(reader.number("<i")),  # BININT
    0x8A: lambda reader: reader.integer(),  # LONG1
    0x8C: lambda reader: reader.text("<B"),  # SHORT_BINUNICODE
    ord("X"): lambda reader: reader.text("<I"),  # BINUNICODE
    ord("C"): lambda reader: reader.raw("<B"),  # SHORT_BINBYTES
    ord("B"): lambda reader: reader.raw("<I"),  # BINBYTES
    0x8E: lambda reader: reader.raw("<Q"),  # BINBYTES8
    0x96: lambda reader: reader.raw("<Q"),  # BYTEARRAY8
    ord(")"): lambda reader: reader.tuple_of(0),  # EMPTY_TUPLE
    0x85: lambda reader: reader.tuple_of(1),  # TUPLE1
    0x86: lambda reader: reader.tuple_of(2),  # TUPLE2
    0x87: lambda reader: reader.tuple_of(3),  # TUPLE3
    ord("t"): lambda reader: reader.push(tuple(reader.since_mark())),  # TUPLE
    ord("]"): lambda reader: reader.push([]),  # EMPTY_LIST
    ord("l"): lambda reader: reader.push(reader.since_mark()),  # LIST
    ord("a"): lambda reader: reader.append([reader.pop()]),  # APPEND
    ord("e"): lambda reader: reader.append(reader.since_mark()),  # APPENDS
    ord("}"): lambda reader: reader.push({}),  # EMPTY_DICT
    ord("s"): lambda reader: reader.set_items([reader.pop(), reader.pop()][::-1]),  # SETITEM
    ord("u"): lambda reader: reader.set_items(reader.since_mark()),  # SETITEMS
    ord("c"): lambda reader: reader.name(reader.line(), reader.line()),  # GLOBAL
    0x93: lambda reader: reader.name(*[reader.pop(), reader.pop()][::-1]),  # STACK_GLOBAL
    ord("R"): lambda reader: reader.reduce(),
    ord("b"): lambda reader: reader.build(),
}
