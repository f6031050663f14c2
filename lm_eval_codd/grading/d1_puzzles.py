"""How d1 (arXiv 2504.12216) grades Countdown, by what an expression comes to, and Sudoku, by its empty cells.

WINO (arXiv 2507.18578) has the same Countdown, and looks for the cells of its Sudoku in the same places.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from lm_eval_codd.grading.answers import between_marks, last_box, unboxed

__all__ = [
    "countdown_expression",
    "countdown_is_correct",
    "is_arithmetic",
    "sudoku_answer",
    "sudoku_places",
    "sudoku_share",
]

_OPERATORS: Final = (("\\div", "/"), ("\\times", "*"), ("\\cdot", "*"))
_OF_EXPRESSIONS: Final = "0123456789+-*/() "
_OF_VALUES: Final = "0123456789. "
_INTEGER: Final = re.compile(r"\d+")
_ARITHMETIC: Final = re.compile(r"[\d+\-*/().\s]+")
_NEARLY: Final = 1e-5
# Digits of a power beyond which it is no target, and not worked out.
_MOST_BITS: Final = 100_000
_DOING: Final[dict[type, Callable[..., Any]]] = {
    **{ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv},
    **{ast.FloorDiv: operator.floordiv, ast.UAdd: operator.pos, ast.USub: operator.neg},
}

_CELLS: Final = 16
_EMPTY: Final = "0"
_OPENING, _CLOSING = "<answer>", "</answer>"
_END_TOKENS: Final = ("<|eot_id|>", "<|endoftext|>")
_FENCED: Final = re.compile(r"```([\d\s]+)```")
_BEFORE_THE_END: Final = re.compile(r"(\d{16})\s*</answer>")
_SOMEWHERE: Final = re.compile(r"\b(\d{16})\b")


def countdown_expression(text: str) -> str:
    """What stands in the last box, else the whole text; of an unclosed box, what is between `<answer>` marks, else all.

    Of that what is before the first equals sign with a value behind it, where there is one.
    """
    box = last_box(text, or_else=text)
    if box is not None:
        answer = unboxed(box)
    else:
        between = between_marks(text)
        answer = text if between is None else between
    for written, plain in _OPERATORS:
        answer = answer.replace(written, plain)
    *sides, _ = parts = answer.split("=")
    for side, value in zip(sides, parts[1:], strict=True):
        expression = side[len(side.rstrip(_OF_EXPRESSIONS)) :]
        if expression and value.startswith(tuple(_OF_VALUES)):
            return expression.strip()
    return answer


def countdown_is_correct(expression: str, numbers: Sequence[int], target: int) -> bool:
    """Whether an expression has each of the numbers once, and comes to the target."""
    try:
        used = sorted(int(number) for number in _INTEGER.findall(expression))
        if used != sorted(numbers) or not is_arithmetic(expression):
            return False
        return bool(abs(_value(ast.parse(expression.strip(), mode="eval").body) - target) < _NEARLY)
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError):
        return False


def is_arithmetic(expression: str) -> bool:
    """Whether a text is of numbers, operators and brackets alone."""
    return _ARITHMETIC.fullmatch(expression) is not None


def sudoku_answer(text: str) -> str:
    """The cells that an answer gives, without blanks; empty where it gives none.

    The end of a text counts as its end token, which is not in it.
    """
    found = next((cells for cells in sudoku_places(text, is_ended=True) if cells.strip()), "")
    return re.sub(r"\s", "", found)


def sudoku_share(answer: str, puzzle: str, solution: str) -> float:
    """The share of a puzzle's empty cells that are right; those beyond an answer's end are not."""
    answer = answer[:_CELLS].ljust(_CELLS, _EMPTY)
    empty = [cell for cell, digit in enumerate(puzzle) if digit == _EMPTY]
    return sum(answer[cell] == solution[cell] for cell in empty) / len(empty) if empty else 0.0


def sudoku_places(text: str, *, is_ended: bool) -> Iterator[str]:
    """Where in a text the cells may be, the likeliest place first.

    Args:
        text: of the answer.
        is_ended: whether the end of the text closes what is open, as an end token does.
    """
    _, opened, inside = text.partition(_OPENING)
    if opened:
        if fenced := _FENCED.search(inside):
            yield fenced.group(1)
        answer = _up_to(inside, (_CLOSING, *_END_TOKENS))
        if is_ended or answer != inside:
            yield answer
    _, closed, behind = text.partition(_CLOSING)
    if closed:
        yield _up_to(behind, _END_TOKENS)
    for pattern in (_BEFORE_THE_END, _SOMEWHERE):
        if digits := pattern.search(text):
            yield digits.group(1)


def _value(node: ast.AST) -> Any:
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.UnaryOp(op=op, operand=operand):
            return _DOING[type(op)](_value(operand))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            base, power = _value(left), _value(right)
            if isinstance(base, int) and isinstance(power, int) and base.bit_length() * power > _MOST_BITS:
                raise OverflowError
            return base**power
        case ast.BinOp(left=left, op=op, right=right):
            return _DOING[type(op)](_value(left), _value(right))
    raise TypeError(type(node).__name__)


def _up_to(text: str, ends: Sequence[str]) -> str:
    for end in ends:
        text = text.partition(end)[0]
    return text
