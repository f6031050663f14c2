"""Which code made an answer."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).parents[1]
_NAME: Final = "lm_eval_codd"
# A backbone and a circuit reach the rooms below as arguments, so no import leads from there to what loads them.
_LOADED: Final = (f"{_NAME}.backbones", f"{_NAME}.circuits")
# Registries name a class as "module:Class", so that it is imported only where it is used.
_LAZY: Final = re.compile(rf"({_NAME}(?:\.\w+)+):\w+")


@cache
def code_version(room: str = "decoding") -> str:
    """A hash of the code that turns prompts and settings into tokens, blind to comments, docstrings and layout.

    It covers every module of this package that a room (`decoding`, `likelihood`) or a module (`backbones.native`) can
    reach by imports, those inside functions and those that a registry names included, and no other. A number raised by
    hand would be forgotten by whoever tries a change, and old answers would pass for new ones.
    """
    digest = hashlib.sha256()
    for path, code in sorted(_reachable(room).items()):
        digest.update(f"{path.relative_to(_PACKAGE).as_posix()}\0".encode())
        digest.update(code)
    return digest.hexdigest()[:16]


def _reachable(room: str) -> dict[Path, bytes]:
    """The files of the modules that a room can reach, and what each one does."""
    found: dict[Path, bytes] = {}
    waiting = [f"{_NAME}.{room}", *_LOADED]
    while waiting:
        for path in _files(waiting.pop()):
            if path not in found:
                imported, found[path] = _read(path.read_text(encoding="utf-8"))
                waiting += imported
    return found


@cache
def _read(text: str) -> tuple[tuple[str, ...], bytes]:
    """What a module's text imports of this package, and what it does: its syntax tree. Rooms share most modules."""
    tree = ast.parse(text)
    return tuple(_imported(tree)), ast.dump(_without_docstrings(tree)).encode()


def _files(module: str) -> Iterator[Path]:
    """What importing a module of this package runs: its file and those of the packages around it.

    The package's own `__init__` says where its public names are, and decides nothing.
    """
    parts = module.split(".")[1:]
    for depth in range(1, len(parts) + 1):
        path = _PACKAGE.joinpath(*parts[:depth])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                yield file


def _imported(tree: ast.AST) -> Iterator[str]:
    """Names of modules that may be modules of this package, and of things in them; not those for types alone."""
    for node in _running(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom) and _is_ours(node.module or ""):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _LAZY.findall(node.value)


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under `if TYPE_CHECKING`."""
    children = ast.iter_child_nodes(tree)
    if isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING":
        children = iter(tree.orelse)
    for node in children:
        yield node
        yield from _running(node)


def _is_ours(module: str) -> bool:
    return module == _NAME or module.startswith(f"{_NAME}.")


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            del node.body[0]
    return tree
