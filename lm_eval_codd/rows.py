"""Rows of a benchmark: how they look, from the hub or from the folder that CODD_DATA_DIR names, and their hash."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import datasets

from lm_eval_codd.catalogue import DATA_DIR
from lm_eval_codd.files.disk import explained

__all__ = [
    "PART",
    "DataError",
    "Read",
    "Rows",
    "content_hash",
    "is_out_of_reach",
    "read_lines",
    "read_texts",
    "rows_of",
    "select",
]

# Column of the configuration that a row is of, where there are several.
PART: Final = "part"
# How classes are called that say of a network or of a hub that it is not there: Python's own, huggingface_hub's, and
# those of httpx (or httpx2), requests and aiohttp, which have no class in common and are not all installed.
_OUT_OF_REACH: Final = frozenset(
    {
        "ConnectionError",
        "TimeoutError",
        "gaierror",
        "LocalEntryNotFoundError",
        "TransportError",
        "Timeout",
        "ClientConnectionError",
    }
)
# What `datasets` says, as a ValueError, without a network where it has the set in another configuration only.
_NOT_CACHED: Final = "Couldn't find cache for"


class DataError(RuntimeError):
    """The rows of a benchmark cannot be had; one line says which and what to do."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The `dataset_kwargs` of a task's YAML: how its rows look and where they are below the data folder.

    Attributes:
        file: path below the data folder: JSON lines, or CSV by its name, whose values are text.
        columns: what is read; the hash covers these, in this order.
        rows: how many the published set has.
        sha256: `content_hash` of the published set; None where it is not public.
        stand_in: read when `file` does not exist: rows of the same shape that are not this benchmark.
        configurations: of the hub's data set, whose rows follow one another; none for the one that the YAML names.
        found: which file of which repository this is, for rows that are on no hub.
    """

    file: str
    columns: Sequence[str]
    rows: int
    sha256: str | None = None
    stand_in: str | None = None
    configurations: Sequence[str] = ()
    found: str | None = None


class Read(NamedTuple):
    """Rows as they were found, with all their columns.

    Attributes:
        source: hub id, configuration and split, or the path of the file.
        rows: each by its columns.
        is_stand_in: whether they are not this benchmark, but of its shape.
    """

    source: str
    rows: Iterable[dict[str, Any]]
    is_stand_in: bool = False


def rows_of(
    task: str, wanted: Rows, hub_id: str, configuration: str | None, split: str, revision: str | None = None
) -> Read:
    """Rows from CODD_DATA_DIR, or from the hub.

    Args:
        task: who asks, for messages.
        wanted: how the rows look.
        hub_id: of the data set.
        configuration: of it.
        split: of it.
        revision: branch, tag or commit on the hub.

    Raises:
        DataError: the rows are missing, unreadable, or gated on the hub.
    """
    folder = os.environ.get(DATA_DIR)
    if folder:
        path, is_stand_in = _find(task, Path(folder).expanduser(), wanted)
        return Read(
            str(path), _read_table(task, path) if path.suffix == ".csv" else read_lines(task, path), is_stand_in
        )
    if wanted.found is not None:
        raise DataError(
            f"{task}: its rows are on no hub; put {wanted.found} into a folder as {wanted.file}, and name the "
            f"folder in {DATA_DIR}"
        )
    if not wanted.configurations:
        return Read(f"{hub_id} ({configuration}, {split})", _fetch(task, hub_id, configuration, split, revision))
    source = f"{hub_id} ({len(wanted.configurations)} configurations, {split})"
    parts = [(part, _fetch(task, hub_id, part, split, revision)) for part in wanted.configurations]
    return Read(source, ({PART: part, **row} for part, rows in parts for row in rows))


def content_hash(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Hex SHA-256 of the rows' content in order: a line of JSON each, the values of `columns` as a list.

    Equal for the same rows whatever the file format, the order of keys, or further columns.
    """
    digest = hashlib.sha256()
    for row in rows:
        line = json.dumps([row[column] for column in columns], ensure_ascii=True, separators=(",", ":"))
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def _find(task: str, folder: Path, wanted: Rows) -> tuple[Path, bool]:
    """The local file and whether it is the stand-in."""
    candidates = [folder / name for name in (wanted.file, wanted.stand_in) if name is not None]
    with _named_in_errors(task, folder):
        if not folder.is_dir():
            raise DataError(
                f"{task}: `{DATA_DIR}={folder}` is not a folder; give an existing one, or unset it for the hub"
            )
        for path in candidates:
            if path.is_file():
                return path, path != candidates[0]
    if wanted.found is not None:
        raise DataError(f"{task}: no file {candidates[0]}; put {wanted.found} there")
    raise DataError(
        f"{task}: no file {candidates[0]}; put JSON lines with {', '.join(wanted.columns)} there, "
        f"or unset {DATA_DIR} to read the hub"
    )


def read_lines(task: str, path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines, blank ones left out.

    Raises:
        DataError: the file cannot be read, or a line of it, which the message numbers, is no JSON object.
    """
    rows = []
    with _named_in_errors(task, path), path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                reason = getattr(error, "msg", "not UTF-8")
                raise DataError(f"{task}: {path}, line {number} is not JSON: {reason}; copy the file again") from None
            if not isinstance(row, dict):
                raise DataError(f"{task}: {path}, line {number} is no JSON object; put one on each line")
            rows.append(row)
    return rows


def read_texts(task: str, path: Path) -> list[str]:
    """The lines of a file, each with its end. Raises `DataError` where it cannot be read or is not UTF-8."""
    try:
        with _named_in_errors(task, path), path.open(encoding="utf-8", newline="\n") as lines:
            return list(lines)
    except UnicodeDecodeError as error:
        raise DataError(f"{task}: {path} is no text in UTF-8: {error}; copy the file again") from None


def _read_table(task: str, path: Path) -> list[dict[str, Any]]:
    rows = []
    try:
        with _named_in_errors(task, path), path.open(encoding="utf-8", newline="") as lines:
            table = csv.DictReader(lines)
            for row in table:
                # A field too many is under the column None, and one that is not there is None.
                if None in row or None in row.values():
                    raise DataError(
                        f"{task}: {path}, line {table.line_num} has not as many fields as its heading; "
                        "copy the file again"
                    )
                rows.append(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{task}: {path} is no table in UTF-8: {error}; copy the file again") from None
    return rows


@contextmanager
def _named_in_errors(task: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{task}: {path} cannot be read: {explained(error, path)}") from None


def _fetch(
    task: str, hub_id: str, configuration: str | None, split: str, revision: str | None
) -> Iterable[dict[str, Any]]:
    try:
        return datasets.load_dataset(hub_id, configuration, split=split, revision=revision)
    except Exception as error:  # the hub's libraries raise a dozen unrelated kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        advice = f"name a folder with a copy in {DATA_DIR}"
        if "gated" in str(error):
            advice = (
                f"accept its terms at https://huggingface.co/datasets/{hub_id}, then log in with `hf auth login` "
                f"or set HF_TOKEN, or {advice}"
            )
        elif is_out_of_reach(error):
            advice = f"go online, or {advice}"
        raise DataError(f"{task}: cannot load {hub_id} ({configuration}): {advice} [{reason}]") from None


def is_out_of_reach(error: BaseException) -> bool:
    """Whether a library says of the hub that it cannot be reached, by this error or by what caused it."""
    cause: BaseException | None = error
    while cause is not None:
        if str(cause).startswith(_NOT_CACHED) or any(kind.__name__ in _OUT_OF_REACH for kind in type(cause).__mro__):
            return True
        cause = cause.__cause__
    return False


def select(task: str, source: str, raw: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> list[dict[str, Any]]:
    """These columns of the rows. Raises `DataError` where one is not there, or no row is."""
    rows = []
    for number, row in enumerate(raw, start=1):
        if missing := [column for column in columns if column not in row]:
            raise DataError(
                f"{task}: row {number} of {source} has no {', '.join(missing)}; give rows with {', '.join(columns)}"
            )
        rows.append({column: row[column] for column in columns})
    if not rows:
        raise DataError(f"{task}: {source} has no rows; copy the file again")
    return rows
