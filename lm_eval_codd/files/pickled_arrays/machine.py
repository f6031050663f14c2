"""The pickle machine, as far as circuits need it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

from lm_eval_codd.files.pickled_arrays.arrays import Arrays, RefusedPickleError, damaged

# A circuit of 32 positions has 3,375 of them (PyJuice 2.6.3), so these are 900 positions or more.
MAX_OPCODES: Final = 1 << 17
_MAX_TEXT: Final = 1 << 10
# What is longer stays in the file, as a view.
_SHORT_BYTES: Final = 1 << 12
_MARK: Final = object()


def run(content: memoryview) -> Any:
    """What a pickle holds. Raises `RefusedPickleError`."""
    try:
        return _Machine(content).run()
    except (IndexError, struct.error):
        raise damaged("it is cut short, or an opcode lacks its values") from None
    except UnicodeDecodeError:
        raise damaged("a text is not UTF-8") from None


class _Machine:
    """A stack, a memo, and where in the file it is."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._at = 0
        self._stack: list[Any] = []
        self._memo: list[Any] = []
        self._arrays = Arrays(len(content))

    def run(self) -> Any:
        content, opcodes = self._content, _OPCODES
        for _ in range(MAX_OPCODES):
            code = content[self._at]
            self._at += 1
            if code == _STOP:
                return self.pop()
            step = opcodes.get(code)
            if step is None and self._at == 1:
                raise damaged("it does not begin as one; a pointer of Git LFS becomes the file by `git lfs pull`")
            if step is None:
                raise RefusedPickleError(f"refused: opcode {bytes([code])!r}, which no circuit is written with")
            step(self)
        raise RefusedPickleError(f"refused: it has more than {MAX_OPCODES} opcodes, and a circuit has some thousands")

    # Bytes of the file.

    def take(self, count: int) -> memoryview:
        end = self._at + count
        if end > len(self._content):
            raise damaged("it is cut short")
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
            raise damaged("a name has no end")
        self._at += len(text) + 1
        return text.decode()

    def decimal(self) -> int:
        text = self.line()
        if not text.isascii() or not text.isdecimal() or len(text) > 9:
            raise damaged("a number is none")
        return int(text)

    # The stack and the memo.

    def pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise damaged("an opcode lacks its values")
        return value

    def top(self) -> Any:
        value = self._stack[-1]
        if value is _MARK:
            raise damaged("an opcode lacks its values")
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
            raise damaged(f"it recalls value {index} of {len(self._memo)}")
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
            raise damaged("it appends to what is no list")
        target.extend(values)

    def set_items(self, items: list[Any]) -> None:
        target = self.top()
        # Hashing a tuple of tuples of tuples can take for ever; a circuit's keys are names.
        if type(target) is not dict or len(items) % 2 or not all(type(key) is str for key in items[::2]):
            raise RefusedPickleError("refused: a dict whose keys are not names")
        target.update(zip(items[::2], items[1::2], strict=True))

    def name(self, module: object, name: object) -> None:
        self.push(self._arrays.named(module, name))

    def reduce(self) -> None:
        arguments, called = self.pop(), self.pop()
        self.push(self._arrays.called(called, arguments))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        self._arrays.set_state(target, state)


_STOP: Final = ord(".")
# By the byte that stands in the file; the names beside them are those of `pickletools`.
_OPCODES: Final[dict[int, Callable[[_Machine], None]]] = {
    0x80: lambda machine: machine.skip(1),  # PROTO
    0x95: lambda machine: machine.skip(8),  # FRAME
    ord("("): lambda machine: machine.push(_MARK),
    ord("q"): lambda machine: machine.remember(machine.number("<B")),  # BINPUT
    ord("r"): lambda machine: machine.remember(machine.number("<I")),  # LONG_BINPUT
    ord("p"): lambda machine: machine.remember(machine.decimal()),  # PUT
    0x94: lambda machine: machine.remember(),  # MEMOIZE
    ord("h"): lambda machine: machine.recall(machine.number("<B")),  # BINGET
    ord("j"): lambda machine: machine.recall(machine.number("<I")),  # LONG_BINGET
    ord("N"): lambda machine: machine.push(None),
    0x88: lambda machine: machine.push(True),  # NEWTRUE
    0x89: lambda machine: machine.push(False),  # NEWFALSE
    ord("K"): lambda machine: machine.push(machine.number("<B")),  # BININT1
    ord("M"): lambda machine: machine.push(machine.number("<H")),  # BININT2
    ord("J"): lambda machine: machine.push(machine.number("<i")),  # BININT
    0x8A: lambda machine: machine.integer(),  # LONG1
    0x8C: lambda machine: machine.text("<B"),  # SHORT_BINUNICODE
    ord("X"): lambda machine: machine.text("<I"),  # BINUNICODE
    ord("C"): lambda machine: machine.raw("<B"),  # SHORT_BINBYTES
    ord("B"): lambda machine: machine.raw("<I"),  # BINBYTES
    0x8E: lambda machine: machine.raw("<Q"),  # BINBYTES8
    0x96: lambda machine: machine.raw("<Q"),  # BYTEARRAY8
    ord(")"): lambda machine: machine.tuple_of(0),  # EMPTY_TUPLE
    0x85: lambda machine: machine.tuple_of(1),  # TUPLE1
    0x86: lambda machine: machine.tuple_of(2),  # TUPLE2
    0x87: lambda machine: machine.tuple_of(3),  # TUPLE3
    ord("t"): lambda machine: machine.push(tuple(machine.since_mark())),  # TUPLE
    ord("]"): lambda machine: machine.push([]),  # EMPTY_LIST
    ord("l"): lambda machine: machine.push(machine.since_mark()),  # LIST
    ord("a"): lambda machine: machine.append([machine.pop()]),  # APPEND
    ord("e"): lambda machine: machine.append(machine.since_mark()),  # APPENDS
    ord("}"): lambda machine: machine.push({}),  # EMPTY_DICT
    ord("s"): lambda machine: machine.set_items([machine.pop(), machine.pop()][::-1]),  # SETITEM
    ord("u"): lambda machine: machine.set_items(machine.since_mark()),  # SETITEMS
    ord("c"): lambda machine: machine.name(machine.line(), machine.line()),  # GLOBAL
    0x93: lambda machine: machine.name(*[machine.pop(), machine.pop()][::-1]),  # STACK_GLOBAL
    ord("R"): lambda machine: machine.reduce(),
    ord("b"): lambda machine: machine.build(),
}
