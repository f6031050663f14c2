"""A reference program as the benchmark splits it: a head, which is given, and a body, which is corrupted."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

__all__ = ["Program", "function_program", "head_of_function", "head_of_text", "text_program"]

_QUOTES = ('"""', "'''")


class Program(NamedTuple):
    """Head and body of a program; one after the other they are the program."""

    head: str
    body: str


def function_program(prompt: str, solution: str) -> Program:
    """Of HumanEval(+): the prompt without its examples, and the solution."""
    return Program(head_of_function(prompt), solution)


def text_program(text: str, code: str) -> Program:
    """Of MBPP(+): the code, put into form, up to its first function or class, the text below that, and the rest.

    Raises:
        RuntimeError: autopep8 is not installed.
        ValueError: the code defines no function.
    """
    autopep8 = _autopep8()
    if "class " not in code:
        code = autopep8.fix_code(code)
        return Program(head_of_text(text, code), _after(code, "def ", 1))
    code = autopep8.fix_code(_indented(code), options={"aggressive": 1})
    return Program(head_of_text(text, code), _after(code, "    def ", 0))


def head_of_function(prompt: str) -> str:
    """A prompt of HumanEval(+) up to its examples, with its docstring closed."""
    head = prompt.partition(">>>")[0].rstrip()
    opened = {place: quotes for quotes in _QUOTES if (place := head.find(quotes)) >= 0}
    quotes = opened[min(opened)] if opened else _QUOTES[0]
    if not head.endswith(quotes):
        head += f"\n    {quotes}"
    return f"{head}\n\n"


def head_of_text(text: str, code: str) -> str:
    """The lines of a program of MBPP(+) up to its first class, else its first function, and the text as docstring.

    Raises:
        ValueError: the code defines neither.
    """
    doc = text.partition(">>>")[0].rstrip()
    if not doc.strip().startswith('"""'):
        doc = f'"""\n{doc.strip()}'
    if not doc.strip().endswith('"""'):
        doc = f'{doc.rstrip()}\n"""'
    doc = "\n".join(f"    {line}" for line in doc.splitlines())
    lines = code.splitlines()
    stripped = [line.strip() for line in lines]
    places = [
        next((number for number, line in enumerate(stripped) if line.startswith(word)), None)
        for word in ("class ", "def ")
    ]
    place = next((place for place in places if place is not None), None)
    if place is None:
        raise ValueError("the program defines no function")
    return "\n".join([*lines[: place + 1], "", doc, ""])


def _after(code: str, start: str, skipped: int) -> str:
    """The lines from the first that begins with `start`, but for so many."""
    lines = code.splitlines()
    place = next((number for number, line in enumerate(lines) if line.startswith(start)), None)
    if place is None:
        raise ValueError(f"the program has no line that begins with {start!r}")
    return "\n".join(lines[place + skipped :])


def _indented(code: str) -> str:
    """Lines indented anew, as the authors do where there is a class: by what a line begins and ends with alone."""
    indented, level = [], 0
    for line in map(str.strip, code.strip().split("\n")):
        if not line:
            continue
        if line.startswith("class "):
            level = 0
        elif line.startswith("def "):
            level = int("self" in line)
        is_branch = line.startswith(("elif ", "else:", "except:", "finally:"))
        indented.append("    " * max(0, level - is_branch) + line)
        level += line.endswith(":")
        if line.startswith(("return", "break", "continue", "raise", "pass")):
            level = max(0, level - 1)
    return "\n".join(indented)


def _autopep8() -> ModuleType:
    try:
        import autopep8
    except ModuleNotFoundError:
        raise RuntimeError(
            "programs of MBPP are put into form by autopep8, which is not installed: pip install 'lm-eval-codd[crb]'"
        ) from None
    return autopep8
