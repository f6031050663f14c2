"""The part of a text that is Python, reduced to what one function needs, as several papers grade programs.

The longest run of lines that parses is taken for the program; of its top level, imports stay, and those definitions
that the entry point can reach by name. Nothing is executed.
"""

from __future__ import annotations

import ast
import warnings
from typing import Final, TypeAlias

# Lines after these are not looked at, as officially.
_MOST_LINES: Final = 100
# Parsing for one answer, in all: enough for every run of 100 lines of about 45 characters. The official search has no
# such bound; a longer text in which none of that much parses holds no program here.
_MOST_WORK: Final = 16_000_000

Definition: TypeAlias = "ast.ClassDef | ast.FunctionDef | ast.Assign"


def sanitize(
    text: str,
    entry_point: str,
    *,
    needs_return: bool = True,
    follows_attributes: bool = False,
    keeps_all_without_entry: bool = False,
) -> str:
    """The program in a text: its imports, and the definitions that `entry_point` reaches; empty where there is none.

    Of the top level, definitions are classes, functions and assignments to a plain name; a later one takes the place
    of an earlier of its name. A definition reaches those whose names occur in it. Never raises.

    Args:
        text: any text.
        entry_point: the function that tests call.
        needs_return: a function without a `return` in it is none of the definitions.
        follows_attributes: in `a.b` it is `b` that is reached; otherwise neither name is.
        keeps_all_without_entry: keep every definition where the entry point is none of them; otherwise none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of literals in the parsed text
        try:
            tree = ast.parse(longest_valid_code(text))
            return _reduce(tree, entry_point, needs_return, follows_attributes, keeps_all_without_entry)
        except (RecursionError, MemoryError, ValueError):  # deeper than `ast` can write out, or beyond its f-strings
            return ""


def longest_valid_code(text: str) -> str:
    """The run of whole lines with most that are not blank among those that parse; the first of equals, or empty.

    Tabs are four blanks, all line ends are newlines, and only the first 100 lines are looked at.
    """
    lines = text.replace("\t", "    ").strip().splitlines()[:_MOST_LINES]
    work = 0
    for first, end in _runs(lines):
        if work > _MOST_WORK:
            break
        run = "\n".join(lines[first:end])
        if _parses(run):
            return run
        # Some of Python's own parsing is quadratic: dotted names in imports, for one.
        work += len(run) + len(run) ** 2 // 2000
    return ""


def _runs(lines: list[str]) -> list[tuple[int, int]]:
    """Runs (first, end) of lines that may parse, those with most lines of text first, then from the top."""
    so_far = [0]
    for line in lines:
        so_far.append(so_far[-1] + bool(line.strip()))

    def rank(run: tuple[int, int]) -> tuple[int, int, int]:
        first, end = run
        return so_far[first] - so_far[end], first, end

    runs = ((first, end) for first in range(len(lines)) for end in range(first + 1, _last_end(lines, first) + 1))
    return sorted((run for run in runs if rank(run)[0] < 0), key=rank)


def _last_end(lines: list[str], first: int) -> int:
    """Where runs from `first` end at the latest: before code that begins indented, which never parses."""
    for number in range(first, len(lines)):
        code = lines[number].lstrip(" ")
        if code and not code.startswith(("#", "\\", "\f")):
            return len(lines) if code == lines[number] else number
    return len(lines)


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # null bytes, lone surrogates, nesting
        return False
    return True


def _reduce(
    tree: ast.Module, entry_point: str, needs_return: bool, follows_attributes: bool, keeps_all_without_entry: bool
) -> str:
    definitions: dict[str, Definition] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) or (isinstance(node, ast.FunctionDef) and _counts(node, needs_return)):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            definitions[node.targets[0].id] = node
    kept = set(definitions)
    if entry_point in definitions or not keeps_all_without_entry:
        kept = _reachable(entry_point, definitions, follows_attributes)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(map(ast.unparse, [*imports, *(node for name, node in definitions.items() if name in kept)]))


def _counts(function: ast.FunctionDef, needs_return: bool) -> bool:
    return not needs_return or any(isinstance(node, ast.Return) for node in ast.walk(function))


def _reachable(entry_point: str, definitions: dict[str, Definition], follows_attributes: bool) -> set[str]:
    reached: set[str] = set()
    ahead = [entry_point]
    while ahead:
        name = ahead.pop()
        if name not in reached and name in definitions:
            reached.add(name)
            ahead += _names_in(definitions[name], follows_attributes)
    return reached


def _names_in(definition: Definition, follows_attributes: bool) -> set[str]:
    names: set[str] = set()
    ahead: list[ast.AST] = [definition]
    while ahead:
        for node in ast.iter_child_nodes(ahead.pop()):
            if isinstance(node, ast.Name):
                names.add(node.id)
            elif not isinstance(node, ast.Attribute):
                ahead.append(node)
            elif follows_attributes:
                names.add(node.attr)
    return names
