"""The program's process: runs the program, then does with its objects what the tests' process asks.

Nothing of the tests is ever in this process, and nothing that it says is a verdict: it only gives values. What it runs
may take this module apart; that changes the values it gives, and no more.
"""

from __future__ import annotations

import builtins
from collections import namedtuple
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

from lm_eval_codd.sandbox.link import Closed, Link
from lm_eval_codd.sandbox.values import Decoder, Encoder, plain_base

__all__ = ["run"]

# What the tests may do with an object, by the name they ask it by; the object first.
_DOING: dict[str, Callable[..., Any]] = {
    "call": lambda function, args, kwargs: function(*args, **kwargs),
    "attribute": getattr,
    "set_attribute": setattr,
    "delete_attribute": delattr,
    "item": lambda value, key: value[key],
    "set_item": lambda value, key, item: value.__setitem__(key, item),
    "delete_item": lambda value, key: value.__delitem__(key),
    "length": len,
    "iterator": iter,
    "next": next,
    "truth": bool,
    "str": str,
    "repr": repr,
    "int": int,
    "float": float,
    "index": lambda value: value.__index__(),
    "hash": hash,
    "is_instance": lambda kind, value: isinstance(value, kind),
    "is_subclass": lambda kind, value: issubclass(value, kind),
}


def run(source: str, descriptor: int) -> None:
    """Run a program, say how that went, and serve its objects until the tests' process is gone."""
    # As in code_eval, `__name__` is not "__main__": a guarded main block does not run.
    namespace: dict[str, Any] = {}
    objects = _Objects(namespace)
    link = Link(descriptor, objects.answer)
    objects.link = link
    try:
        exec(compile(source, "<program>", "exec", dont_inherit=True), namespace)
        ended: dict[str, Any] = {"ran": True}
    except BaseException as error:
        ended = {"raised": objects.told(error)}
    try:
        link.send(ended)
        link.serve()
    except Closed:
        pass


@cache
def _named_tuple(name: str, *fields: str) -> type:
    return namedtuple(name, fields)


class _Objects:
    """The objects that the tests hold references to."""

    link: Link

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._held: list[Any] = []
        self._numbers: dict[int, int] = {}

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked: {"value": ...} or {"raised": ...}."""
        known: list[Any] = []
        try:
            if asked["ask"] == "names":
                result: Any = {name: self._namespace[name] for name in asked["names"] if name in self._namespace}
            else:
                decoder = Decoder(self._follow)
                given = decoder.value(asked["given"])
                known = [decoder.containers[place] for place in range(len(asked["given"][1]))]
                result = _DOING[asked["ask"]](*given)
            return {"value": Encoder(self._refer, known).value(result)}
        except BaseException as error:
            return {"raised": self.told(error), "value": Encoder(self._refer, known).value(None)}

    def told(self, error: BaseException) -> dict[str, Any]:
        """An exception as the tests' process makes it again: its name, the builtin class it is, text and arguments."""
        kind = type(error)
        base = next(base for base in kind.__mro__ if vars(builtins).get(base.__name__) is base)
        number = None if base is kind else self._number(kind)
        return {"name": kind.__name__, "base": base.__name__, "kind": number, "text": str(error)[:10_000]}

    def _number(self, value: Any) -> int:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._held)
            self._held.append(value)
        return number

    def _refer(self, encoder: Encoder, value: Any) -> list[Any]:
        if isinstance(value, ModuleType):
            return ["module", self._number(value), value.__name__]
        if isinstance(value, type) and issubclass(value, BaseException):
            base = next(base for base in value.__mro__ if vars(builtins).get(base.__name__) is base)
            return ["exception", self._number(value), value.__name__, base.__name__]
        base = plain_base(value)
        if base is not None:
            return ["extended", self._number(value), base.__name__, encoder.atom(base(value))]
        return ["object", self._number(value)]

    def _follow(self, decoder: Decoder, text: list[Any]) -> Any:
        if text[0] == "object":
            return self._held[text[1]]
        if text[0] == "named_tuple":
            return _named_tuple(text[1], *text[2])(*[decoder.atom(item) for item in text[3]])
        number = text[1]

        def function(*args: Any, **kwargs: Any) -> Any:
            """One of the tests' own, run there."""
            answer = self.link.ask(
                {"ask": "function", "function": number, "given": Encoder(self._refer).value((args, kwargs))}
            )
            if "raised" in answer:
                raise RuntimeError(answer["raised"])
            return Decoder(self._follow).value(answer["value"])

        return function
