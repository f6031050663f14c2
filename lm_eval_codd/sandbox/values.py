"""How values travel between the program's process and the tests': plain data by content, all else by reference.

A value is a JSON text: `[root, nodes]`. Containers are nodes, and shared and circular ones stay so. Reading it can only
build data of the listed types; it calls nothing that the other side has named. What is no plain data is a reference,
which `Encoder` and `Decoder` leave to two functions of the side that they serve.
"""

from __future__ import annotations

import base64
import builtins
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

__all__ = ["Decoder", "Encoder", "Unreadable", "plain_base"]

_SMALL: Final = 1 << 62
_SEQUENCES: Final[dict[str, Callable[..., Any]]] = {
    kind.__name__: kind for kind in (list, tuple, set, frozenset, deque)
}
_MAPPINGS: Final[dict[str, Callable[..., Any]]] = {
    kind.__name__: kind for kind in (dict, OrderedDict, defaultdict, Counter)
}
_MUTABLE: Final = ("list", "set", "deque", "dict", "OrderedDict", "defaultdict", "Counter", "bytearray")
# Type -> the arguments that make an equal one.
_MADE_OF: Final[dict[type, Callable[[Any], tuple]]] = {
    range: lambda value: (value.start, value.stop, value.step),
    slice: lambda value: (value.start, value.stop, value.step),
    Decimal: lambda value: (str(value),),
    Fraction: lambda value: (value.numerator, value.denominator),
    timedelta: lambda value: (value.days, value.seconds, value.microseconds),
    date: lambda value: (value.year, value.month, value.day),
    datetime: lambda value: (*value.timetuple()[:6], value.microsecond),
    time: lambda value: (value.hour, value.minute, value.second, value.microsecond),
}
_MAKERS: Final = {kind.__name__: kind for kind in _MADE_OF}
_BASES: Final = (
    *(bool, int, float, complex, str, bytes, bytearray),
    *(list, tuple, set, frozenset, deque, dict),
)


class Unreadable(ValueError):
    """A text that is no value."""


def plain_base(value: object) -> type | None:
    """The type of plain data that a value's own type extends (a named tuple's is `tuple`)."""
    return next((base for base in _BASES if isinstance(value, base)), None)


class Encoder:
    """Makes texts of values.

    Args:
        refer: makes a JSON value of what is no plain data.
        known: containers that the other side has, numbered by place; they travel with what they hold now.
    """

    def __init__(self, refer: Callable[[Encoder, Any], Any], known: Sequence[Any] = ()) -> None:
        self._refer = refer
        self.containers = list(known)
        self._places = {id(value): place for place, value in enumerate(known)}

    def value(self, root: Any) -> list[Any]:
        """`[root, nodes]` for `Decoder.value`."""
        first = self.atom(root)
        nodes: list[Any] = []
        # The list grows while its containers are written.
        while len(nodes) < len(self.containers):
            nodes.append(self._node(self.containers[len(nodes)]))
        return [first, nodes]

    def atom(self, value: Any) -> Any:
        """What stands for a value: itself, where JSON has it, or a list that starts with its kind."""
        kind = type(value)
        if value is None or kind is bool or kind is str or kind is float:
            return value
        if kind is int:
            return value if -_SMALL < value < _SMALL else ["int", hex(value)]
        if kind is complex:
            return ["complex", value.real, value.imag]
        if kind is bytes:
            return ["bytes", base64.b64encode(value).decode()]
        if value is Ellipsis or value is NotImplemented:
            return ["named", repr(value)]
        if kind is bytearray or _SEQUENCES.get(kind.__name__) is kind or _MAPPINGS.get(kind.__name__) is kind:
            return ["node", self._place(value)]
        if kind in _MADE_OF and getattr(value, "tzinfo", None) is None:
            return ["made", kind.__name__, [self.atom(part) for part in _MADE_OF[kind](value)]]
        if (name := _builtin_name(value)) is not None:
            return ["named", name]
        if kind.__module__ == "numpy":
            return self._numpy(value)
        return self._refer(self, value)

    def _place(self, value: Any) -> int:
        place = self._places.get(id(value))
        if place is None:
            place = self._places[id(value)] = len(self.containers)
            self.containers.append(value)
        return place

    def _node(self, value: Any) -> list[Any]:
        kind = type(value).__name__
        if kind == "bytearray":
            return [kind, base64.b64encode(value).decode()]
        if kind in _MAPPINGS:
            items = [[self.atom(key), self.atom(item)] for key, item in value.items()]
            return [kind, items, self.atom(value.default_factory)] if kind == "defaultdict" else [kind, items]
        items = [self.atom(item) for item in value]
        return [kind, items, value.maxlen] if kind == "deque" else [kind, items]

    def _numpy(self, value: Any) -> Any:
        import numpy as np

        if isinstance(value, np.ndarray) and value.dtype.kind in "biufcU":
            return ["array", value.dtype.str, self.atom(value.tolist())]
        if isinstance(value, np.generic) and value.dtype.kind in "biufcU":
            return self.atom(value.item())
        return self._refer(self, value)


class Decoder:
    """Makes values of texts.

    Args:
        follow: makes a value of what the other side's `refer` made.
        known: containers of this side that the first nodes are; they take over what those hold.
    """

    def __init__(self, follow: Callable[[Decoder, list], Any], known: Sequence[Any] = ()) -> None:
        self._follow = follow
        self._known = known
        self._nodes: list[Any] = []
        self.containers: dict[int, Any] = {}
        self._empty: list[int] = []

    def value(self, text: Any) -> Any:
        """The value of a text. Raises `Unreadable`."""
        try:
            root, self._nodes = text
            result = self.atom(root)
            for place in range(len(self._known)):
                self._container(place)
            self.settle()
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
            raise Unreadable(f"{type(error).__name__}: {error}") from None
        return result

    def atom(self, text: Any) -> Any:
        """The value that stands for an atom's text."""
        if not isinstance(text, list):
            if isinstance(text, dict):
                raise Unreadable("an object where a value should be")
            return text
        kind = text[0]
        if kind == "node":
            return self._container(text[1])
        if kind == "int":
            return int(text[1], 16)
        if kind == "complex":
            return complex(text[1], text[2])
        if kind == "bytes":
            return base64.b64decode(text[1])
        if kind == "made":
            return _MAKERS[text[1]](*[self.atom(part) for part in text[2]])
        if kind == "named":
            return _builtin(text[1])
        if kind == "array":
            import numpy as np

            array = self.atom(text[2])
            self.settle()
            return np.array(array, dtype=text[1])
        return self._follow(self, text)

    def settle(self) -> None:
        """Give all containers that were met so far their content."""
        while self._empty:
            self._fill(self._empty.pop())

    def _container(self, place: int) -> Any:
        if place in self.containers:
            return self.containers[place]
        kind, content = self._nodes[place][:2]
        if place < len(self._known):
            made = self._known[place]
            if type(made).__name__ != kind:
                raise Unreadable("a container changed its type")
            if kind in _MUTABLE:
                self._empty.append(place)
        elif kind in ("tuple", "frozenset"):
            made = _SEQUENCES[kind]([self.atom(item) for item in content])
        elif kind == "deque":
            made = deque(maxlen=self._nodes[place][2])
            self._empty.append(place)
        elif kind == "defaultdict":
            made = defaultdict(self.atom(self._nodes[place][2]))
            self._empty.append(place)
        elif kind in _MUTABLE:
            made = bytearray() if kind == "bytearray" else {**_SEQUENCES, **_MAPPINGS}[kind]()
            self._empty.append(place)
        else:
            raise Unreadable(f"no such container: {kind!r:.40}")
        self.containers[place] = made
        return made

    def _fill(self, place: int) -> None:
        """Give a container its content; in place, so that all who hold it see it."""
        kind, content = self._nodes[place][:2]
        made = self.containers[place]
        if kind == "bytearray":
            made[:] = base64.b64decode(content)
        elif kind in _MAPPINGS:
            items = [(self.atom(key), self.atom(item)) for key, item in content]
            made.clear()
            for key, item in items:
                made[key] = item
        else:
            items = [self.atom(item) for item in content]
            made.clear()
            (made.update if kind == "set" else made.extend)(items)


def _builtin_name(value: Any) -> str | None:
    name = getattr(value, "__name__", None) if type(value) in (type, type(len)) else None
    return name if isinstance(name, str) and vars(builtins).get(name) is value else None


def _builtin(name: str) -> Any:
    if name == "NotImplemented" or name == "Ellipsis":
        return vars(builtins)[name]
    value = vars(builtins)[name]
    if type(value) not in (type, type(len)):
        raise Unreadable(f"not a builtin type or function: {name:.40}")
    return value
