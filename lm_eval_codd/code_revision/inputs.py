"""Files of corrupted programs: the published ones, such as the authors' scripts build, or `lm-eval-codd crb make`'s."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.catalogue import DATA_DIR
from lm_eval_codd.code_revision.cells import DATASETS, Cell
from lm_eval_codd.code_revision.make import read_dataset
from lm_eval_codd.rows import DataError, is_out_of_reach, read_lines, select

__all__ = ["COLUMNS", "Inputs", "Tests", "read_inputs", "tests_of"]

HUB: Final = "Shuibai12138/crb-paper-inputs"
REVISION: Final = "21cae17423b073b152e997746876d6b828b18358"
# Whose tokens the positions of the published files count, and where the files lie on the hub.
TOKENIZER: Final = "fredzzp/open-dcoder-0.5B"
_HUB_FOLDER: Final = "open-dcoder-0.5B"
_FOLDERS: Final = (_HUB_FOLDER, "buggy_datasets", ".")
_PUBLISHED: Final = "Open-Dcoder-0.5B-mixture-mdm-step2000"

COLUMNS: Final = ("task_id", "function_head", "buggy_body", "error_positions", "test_passed")
_CELL: Final = ("dataset", "error_type", "n_replace")


@dataclass(frozen=True)
class Inputs:
    """The programs of a cell.

    Attributes:
        source: path, or hub id, revision and file.
        rows: in the columns COLUMNS.
        tokenizer: whose tokens the positions count; None where the file does not say.
        num_new: rows that are no published ones by their own word.
        md5: of the file.
    """

    source: str
    rows: list[dict[str, Any]]
    tokenizer: str | None
    num_new: int
    md5: str


@dataclass(frozen=True)
class Tests:
    """The tests of a data set.

    Attributes:
        source: path, or hub id.
        by_task: what a program of each task must get through.
        are_published: whether they are those that the published results were made with.
    """

    source: str
    by_task: Mapping[str, str]
    are_published: bool


def read_inputs(cell: Cell, given: str | None) -> Inputs:
    """The programs of a cell.

    Args:
        cell: which.
        given: a folder in the published layout, or a file of `lm-eval-codd crb make`; None: `crb` or `crb.jsonl` below
            CODD_DATA_DIR where that is set, else the hub.

    Raises:
        DataError: one line: there are none, or they lack what is needed.
    """
    who = f"codd_{cell.slug}"
    path = _local(who, given)
    if path is not None and path.is_file():
        return _from_file(who, cell, path)
    if path is not None:
        source, path = "", _in_folder(who, cell, path)
    else:
        source, path = f"{HUB} at {REVISION[:8]}: ", _from_hub(who, cell)
    raw = read_lines(who, path)
    is_published = path.name.startswith(_PUBLISHED)
    return Inputs(
        source=f"{source}{path.name}" if source else str(path),
        rows=_checked(who, str(path), raw),
        tokenizer=TOKENIZER if is_published else None,
        num_new=0,
        md5=hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(),
    )


def tests_of(dataset: str) -> Tests:
    """The tests of a data set, from CODD_DATA_DIR or the hub; read once. Raises `DataError` without them."""
    return _tests(dataset, os.environ.get(DATA_DIR))


@functools.cache
def _tests(name: str, data_dir: str | None) -> Tests:
    dataset = DATASETS[name]
    source, rows = read_dataset(name, f"codd_crb ({name})")
    tested = {str(row["task_id"]): dataset.tested(row) for row in rows}
    fingerprint = hashlib.sha256(json.dumps(tested, sort_keys=True).encode()).hexdigest()
    by_task = {str(row["task_id"]): dataset.tests(row) for row in rows}
    return Tests(source, by_task, fingerprint == dataset.tests_sha256)


def _local(who: str, given: str | None) -> Path | None:
    if given is not None:
        path = Path(given).expanduser()
        if not path.exists():
            raise DataError(f"{who}: `inputs={given}` does not exist; give a folder of the published layout or a file")
        return path
    if folder := os.environ.get(DATA_DIR):
        paths = [Path(folder).expanduser() / name for name in ("crb", "crb.jsonl")]
        found = next((path for path in paths if path.exists()), None)
        if found is None:
            raise DataError(
                f"{who}: neither {paths[0]} nor {paths[1]}; make the file with `lm-eval-codd crb make`, or unset "
                f"{DATA_DIR} to read the hub"
            )
        return found
    return None


def _from_file(who: str, cell: Cell, path: Path) -> Inputs:
    """The rows of a file that name the cell."""
    raw = read_lines(who, path)
    select(who, str(path), raw, _CELL)
    cells = {Cell(*(row[name] for name in _CELL)): None for row in raw}
    if cell not in cells:
        there = ", ".join(Cell(*one).label for one in cells)
        raise DataError(f"{who}: {path} has no programs of {cell.label}; it has {there}")
    mine = [row for row in raw if Cell(*(row[name] for name in _CELL)) == cell]
    return Inputs(
        source=str(path),
        rows=_checked(who, str(path), mine),
        tokenizer=mine[0].get("tokenizer"),
        num_new=sum(bool(row.get("new_sample")) for row in mine),
        md5=hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(),
    )


def _in_folder(who: str, cell: Cell, folder: Path) -> Path:
    """The cell's file in one of the three layouts; that of the published name before others."""
    pattern = f"*_{cell.error_type}_*_wrong_{cell.number}_evaluated.jsonl"
    places = [folder / name / cell.dataset / "evaluated" for name in _FOLDERS]
    found = [path for place in places for path in sorted(place.glob(pattern))]
    published = [path for path in found if path.name.startswith(_PUBLISHED)]
    if not found:
        raise DataError(f"{who}: no file {pattern} in {' or '.join(map(str, places))}")
    if not published and len(found) > 1:
        raise DataError(f"{who}: several files of this cell: {', '.join(map(str, found))}; leave one there")
    return (published or found)[0]


def _from_hub(who: str, cell: Cell) -> Path:
    from huggingface_hub import hf_hub_download

    name = f"{_PUBLISHED}_{cell.error_type}_2_wrong_{cell.number}_evaluated.jsonl"
    try:
        path = hf_hub_download(
            HUB, f"{_HUB_FOLDER}/{cell.dataset}/evaluated/{name}", repo_type="dataset", revision=REVISION
        )
    except Exception as error:  # the hub's libraries raise a dozen unrelated kinds
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        advice = "go online, or " if is_out_of_reach(error) else ""
        raise DataError(
            f"{who}: cannot load {HUB}: {advice}name a copy or a file of your own with "
            f"`--metadata inputs=PATH` [{reason}]"
        ) from None
    return Path(path)


def _checked(who: str, source: str, raw: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = select(who, source, raw, COLUMNS)
    for number, row in enumerate(rows, start=1):
        row["task_id"] = str(row["task_id"])
        positions = row["error_positions"]
        if not isinstance(row["test_passed"], bool):
            raise DataError(f"{who}: row {number} of {source}: test_passed is {row['test_passed']!r:.40}, not a bool")
        if not row["test_passed"] and not (positions and all(isinstance(one, int) for one in positions)):
            raise DataError(
                f"{who}: row {number} of {source}: error_positions is {positions!r:.40}, not a list of them"
            )
    return rows
