r"""Countdown as WINO (arXiv 2507.18578) grades it: an expression of the given numbers, each once, and its value.

The expression is what the last box holds, else what is between the first `<answer>` marks, else the whole answer; of an
equation with a number on its right, the left side.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from lm_eval_codd.grading.answers import between_marks, last_box, unboxed

__all__ = ["expression", "is_right", "numbers_of", "value"]

_SIGNS: Final = (("\\div", "/"), ("\\times", "*"), ("\\cdot", "*"))
_EQUATION: Final = re.compile(r"([0-9+\-*/() ]+)=[0-9. ]+")
_ALLOWED: Final = re.compile(r"[\d+\-*/().\s]+")
_TOLERANCE: Final = 1e-5
_OPERATIONS: Final[Mapping[type, Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}
# What no right answer needs, and would take forever.
_LARGEST_EXPONENT: Final = 10_000
_LONGEST: Final = 1000


def expression(text: str) -> str:
    """The expression in an answer, with Python's signs."""
    box = last_box(text, or_else=text)
    found = unboxed(box) if box is not None else between_marks(text)
    found = text if found is None else found
    for sign, here in _SIGNS:
        found = found.replace(sign, here)
    equation = _EQUATION.search(found)
    return found if equation is None else equation.group(1).strip()


def numbers_of(text: str) -> list[int]:
    """The whole numbers in an expression, from left to right."""
    return [int(number) for number in re.findall(r"\d+", text[:_LONGEST])]


def is_right(text: str, target: int, numbers: Sequence[int]) -> bool:
    """Whether an expression has the numbers, each once, and the target's value."""
    if len(text) > _LONGEST or sorted(numbers_of(text)) != sorted(numbers):
        return False
    found = value(text)
    return found is not None and bool(abs(found - target) < _TOLERANCE)


def value(text: str) -> Any:
    """The value of an expression of numbers, brackets and Python's arithmetic signs; None where it has none."""
    if not _ALLOWED.fullmatch(text):
        return None
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return None


def _value(node: ast.AST) -> Any:
    """Raises `ValueError` for what is no number, and `ArithmeticError` where there is no value."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        operand = _value(node.operand)
        return -operand if isinstance(node.op, ast.USub) else operand
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow) and abs(right) > _LARGEST_EXPONENT and left not in (-1, 0, 1):
            raise OverflowError
        return _OPERATIONS[type(node.op)](left, right)
    raise ValueError
