"""The journal of a run: every result, such as an answer, written down as soon as it is made.

A folder holds one append-only file a process, so that no two ever write to the same. Each line is a JSON object that
ends with a hash of itself: a line that was cut short or damaged is told from a whole one, and only that line is lost.
An answer is found by its key, a hash of everything that it depends on; batch size, number of processes and `--limit`
are not among these.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import secrets
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

from lm_eval_codd.files.disk import explained

eval_logger = logging.getLogger("lm_eval.codd")

R = TypeVar("R")
T = TypeVar("T")

_FILES: Final = "answers-*.jsonl"
_KEY_BYTES: Final = 16
# A flush takes milliseconds, more on a network file system, and short answers come by the dozen.
_SECONDS_BETWEEN_FLUSHES: Final = 1.0

# A line of an answer begins with {"key":"<32 digits>", and every line ends with ,"check":"<16 digits>"}
_KEY: Final = slice(len('{"key":"'), len('{"key":"') + 2 * _KEY_BYTES)
_CHECK: Final = b',"check":"'
_CHECK_BYTES: Final = 8
_SEAL_LENGTH: Final = len(_CHECK) + 2 * _CHECK_BYTES + len(b'"}')

# Positions of an answer: far more than any canvas has.
_LONGEST: Final = 10**7
_OF_ANOTHER_FORM: Final = (KeyError, TypeError, ValueError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Kept(Generic[R]):
    """A result, and its share of the seconds that the work took.

    result: a dataclass of numbers, words and lists of them. Tokens of an answer are called `tokens`.
    made_elsewhere: a journalled one, made on other hardware or with other versions than this process has.
    """

    result: R
    seconds: float
    made_elsewhere: bool = False


class Keys:
    """Keys of the answers that one set of settings gives.

    Args:
        made_by: everything but the prompt and its repeat index that an answer depends on; plain data.
    """

    def __init__(self, made_by: Mapping[str, Any]) -> None:
        self._digest = hashlib.blake2b(json.dumps(made_by, sort_keys=True).encode(), digest_size=_KEY_BYTES)

    def of(
        self,
        prompt: Sequence[int],
        repeat: int,
        draft: Sequence[int] | None = None,
        fixed: Sequence[bool] | None = None,
    ) -> str:
        """The key of the `repeat`-th answer to a prompt of token ids, and to a draft of it with its fixed positions."""
        digest = self._digest.copy()
        digest.update(array("q", [repeat, *prompt]).tobytes())
        for name, values in (("draft", draft), ("fixed", fixed)):
            if values is not None:
                digest.update(f"{name} {len(values)} after {len(prompt)}".encode())
                digest.update(array("q", values).tobytes())
        return digest.hexdigest()


class _Line(NamedTuple):
    text: bytes
    made_elsewhere: bool


class Journal:
    """What is journalled in a folder, and this process's own file in it.

    The folder is read once, at the start; the file is made with the first answer, so that a run which finds all of
    them leaves the folder as it was.

    Args:
        folder: made when it is not there.

    Raises:
        ValueError: the folder cannot be made, read or written.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._contents = [path.read_bytes() for path in sorted(self.folder.glob(_FILES))]
        except OSError as error:
            reason = explained(error, error.filename or self.folder)
            raise ValueError(f"`journal={folder}` cannot be used ({reason}); give another folder") from None
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise ValueError(f"`journal={folder}` cannot be written to; give another folder")
        self._lines: dict[bytes, _Line] = {}
        self._surroundings: dict[str, Any] = {}
        self._handle: int | None = None
        self._flushed = -_SECONDS_BETWEEN_FLUSHES

    def start(self, surroundings: Mapping[str, Any]) -> None:
        """Make the answers findable.

        Args:
            surroundings: hardware and versions of this process, plain data; its file begins with them.
        """
        self._surroundings = json.loads(json.dumps(surroundings))
        num_damaged = 0
        for content in self._contents:
            made_elsewhere = True
            for line in filter(None, content.split(b"\n")):
                if not _is_whole(line):
                    num_damaged += 1
                elif line.startswith(b'{"surroundings":'):
                    made_elsewhere = _surroundings_of(line) != self._surroundings
                else:
                    self._lines.setdefault(line[_KEY], _Line(line, made_elsewhere))
        self._contents = []
        if self._lines or num_damaged:
            eval_logger.info("%s: %d answers are journalled.", self.folder, len(self._lines))
        if num_damaged:
            eval_logger.warning("%s: %d lines are cut short or damaged and left out.", self.folder, num_damaged)

    def find(self, key: str, kind: type[R]) -> Kept[R] | None:
        """The result of a key, which is of a kind; or None."""
        line = self._lines.get(key.encode())
        if line is None:
            return None
        try:
            record = _record_of(line)
            seconds = float(record.pop("seconds"))
            return Kept(_result_of(kind, record), seconds, line.made_elsewhere)
        except _OF_ANOTHER_FORM:
            self._make_again(key)
            return None

    def _make_again(self, key: str) -> None:
        """Forget a line that is whole and still says no answer: another version's, or written by hand."""
        del self._lines[key.encode()]
        eval_logger.warning(
            "%s: an answer is not as this version writes them, and is made again (%s).", self.folder, key
        )

    def add(self, results: Iterable[tuple[str, Kept[Any]]]) -> None:
        """Write results with their keys.

        On return they are with the system, whatever becomes of this process. Should the machine itself fail: they are
        on the disk too, but for those that came within a second of others; these follow with the next ones or `flush`.

        Raises:
            OSError: one line: the disk is full, or gone.
        """
        lines = {key.encode(): _line_of(key, kept) for key, kept in results}
        try:
            text = b"".join(line + b"\n" for line in lines.values())
            if self._handle is None:
                self._handle = _new_file(self.folder)
                text = _seal({"surroundings": self._surroundings, "started": int(time.time())}) + b"\n" + text
            _write(self._handle, text)
            if time.monotonic() - self._flushed >= _SECONDS_BETWEEN_FLUSHES:
                self.flush()
        except BaseException as error:
            self.close()  # nothing may follow half a line
            if not isinstance(error, OSError):
                raise
            raise OSError(
                f"answers cannot be journalled in {self.folder} ({explained(error, self.folder)}); those before are "
                "kept, and the same command goes on from there"
            ) from error
        for key, line in lines.items():
            self._lines.setdefault(key, _Line(line, made_elsewhere=False))

    def flush(self) -> None:
        """Wait until everything is on the disk."""
        if self._handle is not None:
            os.fsync(self._handle)
            self._flushed = time.monotonic()

    def close(self) -> None:
        """Close this process's file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _surroundings_of(line: bytes) -> object:
    try:
        return json.loads(line)["surroundings"]
    except _OF_ANOTHER_FORM:
        return None


def _record_of(line: _Line) -> dict[str, Any]:
    """What a whole line says, without its key and its seal."""
    record: dict[str, Any] = json.loads(line.text)
    del record["key"], record["check"]
    return record


def _result_of(kind: type[R], record: dict[str, Any]) -> R:
    """What a record says. Raises one of `_OF_ANOTHER_FORM` where that is no result of this kind."""
    if "length" in record:
        length, tokens = record.pop("length"), record["tokens"]
        if not bool(length) <= len(tokens) <= length <= _LONGEST:
            raise ValueError("no tokens")
        record["tokens"] = tokens + tokens[-1:] * (length - len(tokens))
    result = kind(**record)
    for field in dataclasses.fields(result):  # type: ignore[arg-type]
        annotation = field.type.__name__ if field.type in (int, float) else str(field.type)
        fits = _FITTING.get(annotation)
        if fits is not None and not fits(getattr(result, field.name)):
            raise ValueError(f"no {field.name}")
    return result


# By the annotation of a field.
_FITTING: Final[Mapping[str, Callable[[Any], bool]]] = {
    "int": lambda value: type(value) is int,
    "float": lambda value: type(value) in (int, float),
    "list[int]": lambda value: isinstance(value, list) and all(type(each) is int for each in value),
}


def _line_of(key: str, kept: Kept[Any]) -> bytes:
    optional = {field.name for field in dataclasses.fields(kept.result) if field.default is None}
    # What is new in a kind of results and does not concern one leaves its line as it was.
    said = {n: value for n, value in vars(kept.result).items() if value is not None or n not in optional}
    record = {"key": key, **said, "seconds": round(kept.seconds, 6)}
    if "tokens" in record:
        tokens = record["tokens"]
        record["length"] = len(tokens)
        # What follows an answer's end is one token over and over; one of them is enough.
        last = len(tokens)
        while last > 1 and tokens[last - 2] == tokens[-1]:
            last -= 1
        record["tokens"] = tokens[:last]
    return _seal(record)


def take_journalled(
    journal: Journal | None, waiting: list[T], keys: Callable[[list[T]], Sequence[str]], kind: type[R]
) -> Iterator[tuple[T, Kept[R]]]:
    """Remove from `waiting` what is journalled, and yield it with its result.

    Args:
        journal: None has nothing.
        waiting: what is to be worked on.
        keys: of such a list.
        kind: of the results.
    """
    if journal is None:
        return
    asked = list(waiting)
    waiting.clear()
    for each, key in zip(asked, keys(asked), strict=True):
        kept = journal.find(key, kind)
        if kept is None:
            waiting.append(each)
        else:
            yield each, kept


def _seal(record: Mapping[str, Any]) -> bytes:
    """A record as JSON that ends with a hash of what is before it."""
    body = json.dumps(record, separators=(",", ":")).encode()[:-1]
    return body + _CHECK + _check(body) + b'"}'


def _is_whole(line: bytes) -> bool:
    body, seal = line[:-_SEAL_LENGTH], line[-_SEAL_LENGTH:]
    return seal == _CHECK + _check(body) + b'"}'


def _check(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECK_BYTES).hexdigest().encode()


def _new_file(folder: Path) -> int:
    """A file that no other process has, in a folder that lists it even after a power cut."""
    name = _FILES.replace("*", f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(6)}")
    handle = os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o666)
    if hasattr(os, "O_DIRECTORY"):
        listing = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(listing)
        finally:
            os.close(listing)
    return handle


def _write(handle: int, text: bytes) -> None:
    left = memoryview(text)
    while left:
        left = left[os.write(handle, left) :]
