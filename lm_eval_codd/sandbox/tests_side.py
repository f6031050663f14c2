"""The tests' process: runs a row's tests over a program that runs in another process, and decides.

The tests' names that they do not define are the program's: plain data arrives as a copy, everything else as a `Remote`,
whose operations are done over there. Comparisons are done here, on data; a program's own `__eq__` is never asked.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
from collections.abc import Callable, Iterator
from functools import cache
from types import FunctionType
from typing import Any, Final, NoReturn

from lm_eval_codd.sandbox.link import Closed, Link
from lm_eval_codd.sandbox.values import Decoder, Encoder, Unreadable

__all__ = ["run"]

DETAIL_LETTERS: Final = 300
_TOLD_NAMES: Final = ("__dict__", "__doc__", "__module__", "__name__", "__qualname__")


def run(read_tests: Callable[[], str], descriptor: int) -> tuple[str, str]:
    """Wait until the program has run, then run the tests on it. Returns status and detail of an `Outcome`.

    A detail is missing where the program's process ended: its parent knows how.
    """
    program = _Program()
    link = program.link = Link(descriptor, program.answer)
    try:
        first = link.receive()
        if "raised" in first:
            raise program.exception(first["raised"])
        tests = read_tests()
        tree = ast.parse(tests, "<tests>")
        namespace = program.names(_names_of_the_program(tree))
        exec(compile(tests, "<tests>", "exec", dont_inherit=True), namespace)
    except BaseException as error:
        # Whatever the tests made of it: a program that is gone has not failed, but crashed.
        if program.lost is not None or isinstance(error, Closed):
            return "crashed", program.lost or ""
        return "failed", " ".join(f"{type(error).__name__}: {error}".split())[:DETAIL_LETTERS]
    return ("crashed", program.lost) if program.lost is not None else ("passed", "")


def _names_of_the_program(tests: ast.Module) -> list[str]:
    """The names that tests read and do not define. Builtins are not the program's to replace.

    But where tests read builtins alone, one of those is what they test (MBPP has a `sum` of two numbers).
    """
    read = {node.id for node in ast.walk(tests) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    defined = {node.id for node in ast.walk(tests) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    defined |= {node.name for node in ast.walk(tests) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    defined |= {node.arg for node in ast.walk(tests) if isinstance(node, ast.arg)}
    known = vars(builtins).keys()
    asked = read - known
    return sorted(asked if asked - defined else read)


class _Program:
    """The program, as the tests' process knows it."""

    link: Link

    def __init__(self) -> None:
        self.lost: str | None = None
        self._remotes: dict[int, Remote] = {}
        self._exceptions: dict[int, type[BaseException]] = {}
        self._functions: list[Callable[..., Any]] = []

    def names(self, wanted: list[str]) -> dict[str, Any]:
        """Those of the names that the program has, with their values."""
        found = self._result(self._asked({"ask": "names", "names": wanted}), [])
        if not isinstance(found, dict) or not found.keys() <= set(wanted):
            self._lose("gave the tests what they had not asked for")
        return dict(found)

    def do(self, what: str, *given: Any) -> Any:
        """Have something done over there. Containers that were given take over what became of them."""
        encoder = Encoder(self._refer)
        text = encoder.value(given)
        try:
            return self._result(self._asked({"ask": what, "given": text}), encoder.containers)
        except StopIteration as error:
            if what == "next":
                raise
            # As in a generator: it would end a loop of the tests quietly, before all of them have run.
            raise RuntimeError(f"the program raised StopIteration: {error}") from None

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Run one of the tests' functions, which the program was given."""
        try:
            function = self._functions[asked["function"]]
            args, kwargs = Decoder(self._follow).value(asked["given"])
        except (LookupError, TypeError, ValueError):
            self._lose("asked the tests what cannot be asked")
        try:
            return {"value": Encoder(self._refer).value(function(*args, **kwargs))}
        except Exception as error:
            return {"raised": f"{type(error).__name__}: {error}"[:DETAIL_LETTERS]}

    def exception(self, told: Any) -> BaseException:
        """The exception that was raised over there."""
        try:
            kind = self._exception_class(told["kind"], told["name"], told["base"])
            text = str(told["text"])
        except (LookupError, TypeError):
            self._lose("raised in the tests what is no exception")
        return _with_text(kind, text)

    def _asked(self, message: dict[str, Any]) -> dict[str, Any]:
        if self.lost is not None:
            raise Closed(self.lost)
        try:
            return self.link.ask(message)
        except Closed as error:
            self._lose(str(error))

    def _result(self, answer: dict[str, Any], given: list[Any]) -> Any:
        try:
            result = Decoder(self._follow, given).value(answer["value"])
        except (Unreadable, LookupError):
            self._lose("gave the tests what is no value")
        if "raised" in answer:
            raise self.exception(answer["raised"])
        return result

    def _lose(self, why: str) -> NoReturn:
        if self.lost is None:
            self.lost = why
        raise Closed(self.lost)

    def _exception_class(self, number: Any, name: Any, base: Any) -> type[BaseException]:
        builtin = vars(builtins)[base]
        if not (isinstance(builtin, type) and issubclass(builtin, BaseException)):
            raise LookupError(base)
        if number is None:
            return builtin
        if number not in self._exceptions:
            self._exceptions[number] = type(str(name), (builtin,), {"_number": number})
        return self._exceptions[number]

    def _refer(self, encoder: Encoder, value: Any) -> list[Any]:
        number = getattr(type(value), "_remote_number", None)
        if isinstance(value, Remote):
            return ["object", object.__getattribute__(value, "_number")]
        if number is not None:
            return ["object", number(value)]
        if isinstance(value, type) and value in self._exceptions.values():
            return ["object", vars(value)["_number"]]
        if isinstance(value, tuple) and isinstance(fields := getattr(value, "_fields", None), tuple):
            return ["named_tuple", type(value).__name__, list(fields), [encoder.atom(item) for item in value]]
        if isinstance(value, FunctionType):
            self._functions.append(value)
            return ["function", len(self._functions) - 1]
        raise TypeError(f"tests cannot hand a {type(value).__name__} to a program in the sandbox")

    def _follow(self, decoder: Decoder, text: list[Any]) -> Any:
        kind, number = text[0], text[1]
        if not isinstance(number, int):
            raise Unreadable("no number of an object")
        if kind == "exception":
            return self._exception_class(number, text[2], text[3])
        if kind == "module" and text[2] in sys.stdlib_module_names:
            # Its own of that name: the program's may have been changed.
            return importlib.import_module(text[2])
        if kind == "extended":
            base = vars(builtins).get(text[2])
            if base in _EXTENDED:
                data = decoder.atom(text[3])
                decoder.settle()
                return _extended(base)(self, number, data)
        if number not in self._remotes:
            self._remotes[number] = Remote(self, number)
        return self._remotes[number]


def _with_text(kind: type[BaseException], text: str) -> BaseException:
    """An exception of this kind whose text is this, however the kind makes its text of its arguments."""
    try:
        error = kind(text)
        if str(error) == text:
            return error
        # A KeyError shows its argument in quotes.
        return type(kind.__name__, (kind,), {"__str__": lambda self: text})(text)
    except TypeError:  # it wants other arguments, as UnicodeError's kinds do
        base = next(base for base in kind.__mro__ if base in (ValueError, Exception, BaseException))
        return type(kind.__name__, (base,), {})(text)


# bool cannot be extended; the types of `collections` are data of their own, what extends them is a reference.
_EXTENDED: Final = (int, float, complex, str, bytes, tuple, frozenset, list, set, dict)


@cache
def _extended(base: type) -> Callable[[_Program, int, Any], Any]:
    """A maker of data whose type, over there, extends a plain one: the data here, its attributes there."""

    class Extended(base):
        _program: _Program
        _number: int

        def _remote_number(self) -> int:
            return self._number

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return self._program.do("attribute", Remote(self._program, self._number), name)

    Extended.__name__ = base.__name__

    def make(program: _Program, number: int, data: Any) -> Any:
        if type(data) is not base:
            raise Unreadable("not the data that it says")
        made = Extended(data)
        made._program, made._number = program, number
        return made

    return make


class Remote:
    """An object of the program's. Equal to itself alone, and in no order: the program's own methods decide nothing."""

    __slots__ = ("_number", "_program")
    _program: _Program
    _number: int

    def __init__(self, program: _Program, number: int) -> None:
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "_number", number)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and object.__getattribute__(self, "_number") == object.__getattribute__(
            other, "_number"
        )

    def __hash__(self) -> int:
        return hash(object.__getattribute__(self, "_number"))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._program.do("call", self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        # Protocols that libraries look for would be carried out here: numpy's names an address in memory.
        if name.startswith("__") and name not in _TOLD_NAMES:
            raise AttributeError(name)
        return self._program.do("attribute", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._program.do("set_attribute", self, name, value)

    def __delattr__(self, name: str) -> None:
        self._program.do("delete_attribute", self, name)

    def __getitem__(self, key: Any) -> Any:
        return self._program.do("item", self, key)

    def __setitem__(self, key: Any, item: Any) -> None:
        self._program.do("set_item", self, key, item)

    def __delitem__(self, key: Any) -> None:
        self._program.do("delete_item", self, key)

    def __len__(self) -> int:
        return self._program.do("length", self)

    def __iter__(self) -> Iterator[Any]:
        return _Items(self._program, self._program.do("iterator", self))

    def __next__(self) -> Any:
        return self._program.do("next", self)

    def __contains__(self, item: object) -> bool:
        # Compared here: asked over there, the program would see what is looked for.
        return any(item is found or item == found for found in self)

    def __bool__(self) -> bool:
        return self._program.do("truth", self)

    def __str__(self) -> str:
        return self._program.do("str", self)

    def __repr__(self) -> str:
        return self._program.do("repr", self)

    def __int__(self) -> int:
        return self._program.do("int", self)

    def __float__(self) -> float:
        return self._program.do("float", self)

    def __index__(self) -> int:
        return self._program.do("index", self)

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, Remote) and self._program.do("is_instance", self, value) is True

    def __subclasscheck__(self, value: object) -> bool:
        return isinstance(value, Remote) and self._program.do("is_subclass", self, value) is True


class _Items:
    """An iterator over there."""

    def __init__(self, program: _Program, iterator: Any) -> None:
        self._program, self._iterator = program, iterator

    def __iter__(self) -> _Items:
        return self

    def __next__(self) -> Any:
        return self._program.do("next", self._iterator)
