"""Results where the user wants them: whether they can be written, asked before any work is done, and the writing.

Folders that are missing are made, in every command.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lm_eval_codd.files.disk import explained

__all__ = ["check_file", "check_folder", "replacing", "write_text"]


def check_file(what: str, path: Path) -> None:
    """Raise `ValueError`, one line, where no file can be written at `path`.

    Args:
        what: the flag or argument, for the message: `--html`.
        path: may exist (it is overwritten), and its folders may have to be made.
    """
    if path.is_dir():
        raise ValueError(f"`{what} {path}` is a folder; give a file")
    if path.exists():
        _refuse_unless_writable(what, path, path)
    else:
        _check_parents(what, path)


def check_folder(what: str, path: Path) -> None:
    """Raise `ValueError`, one line, where files cannot be written into a folder at `path`; like `check_file`."""
    if path.is_dir():
        _refuse_unless_writable(what, path, path)
    elif path.exists():
        raise ValueError(f"`{what} {path}` is a file; give a folder")
    else:
        _check_parents(what, path)


def write_text(path: Path, text: str, *, append: bool = False) -> None:
    """Write a file, or `append` to it, in a folder that is made where it is missing.

    A file that is there is replaced in one step: whoever reads it, or a full disk, meets the old one or the new one.

    Raises:
        ValueError: one line; it cannot be written.
    """
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        if append or (path.exists() and not path.is_file()):
            with path.open("a" if append else "w", encoding="utf-8") as file:
                file.write(text)
        else:
            with replacing(path.resolve()) as partial:
                partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"`{path}` cannot be written: {explained(error, path)}") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place at the end, and is gone after an error.

    It may be read by whom the file that was there may, and else by whom the user's umask says, whatever the writer
    makes of it: safetensors leaves its files to their owner alone.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.touch()
        mode = (path if path.exists() else partial).stat().st_mode & 0o777
        yield partial
        partial.chmod(mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _check_parents(what: str, path: Path) -> None:
    """The nearest of its folders that is there must be one, and take new files."""
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    if not nearest.is_dir():
        raise ValueError(f"`{what} {path}` cannot be written: {nearest} is a file, not a folder")
    _refuse_unless_writable(what, path, nearest)


def _refuse_unless_writable(what: str, path: Path, place: Path) -> None:
    if not os.access(place, os.W_OK):
        raise ValueError(f"`{what} {path}` cannot be written: {place} is not writable for this user")
