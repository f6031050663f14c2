"""Rows of a benchmark: how they look, from the hub or from the folder that CODD_DATA_DIR names, and their hash."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import datasets

from lm_eval_codd.catalogue import DATA_DIR

__all__ = ["PART", "DataError", "Rows", "content_hash", "read_lines", "rows_of", "select"]

# Column of the configuration that a row is of, where there are several.
PART: Final = "part"


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


def rows_of(
    name: str, wanted: Rows, hub_id: str, configuration: str | None, split: str, revision: str | None = None
) -> tuple[str, Iterable[dict[str, Any]], bool]:
    """Where rows come from, the rows, and whether they are the stand-in; from CODD_DATA_DIR or the hub.

    Args:
        name: who asks, for messages.
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
        path, is_stand_in = _find(name, Path(folder).expanduser(), wanted)
        return str(path), _read_table(name, path) if path.suffix == ".csv" else read_lines(name, path), is_stand_in
    if wanted.found is not None:
        raise DataError(
            f"{name}: its rows are on no hub; put {wanted.found} into a folder as {wanted.file}, and name the "
            f"folder in {DATA_DIR}"
        )
    if not wanted.configurations:
        return f"{hub_id} ({configuration}, {split})", _fetch(name, hub_id, configuration, split, revision), False
    source = f"{hub_id} ({len(wanted.configurations)} configurations, {split})"
    parts = [(part, _fetch(name, hub_id, part, split, revision)) for part in wanted.configurations]
    return source, ({PART: part, **row} for part, rows in parts for row in rows), False


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
    if not folder.is_dir():
        raise DataError(f"{task}: `{DATA_DIR}={folder}` is not a folder; give an existing one, or unset it for the hub")
    candidates = [folder / name for name in (wanted.file, wanted.stand_in) if name is not None]
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
    """The objects of a file of JSON lines. Raises `DataError`, one line with file and line number."""
    rows = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except ValueError as error:
                reason = getattr(error, "msg", "not UTF-8")
                raise DataError(f"{task}: {path}, line {number} is not JSON: {reason}; copy the file again") from None
            if not isinstance(row, dict):
                raise DataError(f"{task}: {path}, line {number} is no JSON object; put one on each line")
            rows.append(row)
    return rows


def _read_table(task: str, path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{task}: {path} is no table in UTF-8: {error}; copy the file again") from None


def _fetch(task: str, path: str, name: str | None, split: str, revision: str | None) -> Iterable[dict[str, Any]]:
    try:
        return datasets.load_dataset(path, name, split=split, revision=revision)
    except Exception as error:  # the hub's libraries raise a dozen unrelated kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "gated" in str(error):
            advice = (
                f"accept its terms at https://huggingface.co/datasets/{path}, then log in with `hf auth login` "
                f"or set HF_TOKEN, or name a folder with a copy in {DATA_DIR}"
            )
        else:
            advice = f"go online, or name a folder with a copy in {DATA_DIR}"
        raise DataError(f"{task}: cannot load {path} ({name}): {advice} [{reason}]") from None


def select(task: str, source: str, raw: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> list[dict[str, Any]]:
    """These columns of the rows. Raises `DataError` where one is not there, or no row is."""
    rows = []
    for number, row in enumerate(raw, start=1):
        if missing := [column for column in columns if column not in row]:
            raise DataError(f"{task}: row {number} of {source} has no {', '.join(missing)}")
        rows.append({column: row[column] for column in columns})
    if not rows:
        raise DataError(f"{task}: {source} has no rows")
    return rows
