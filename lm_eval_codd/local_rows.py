"""Benchmarks whose rows are a file in a repository of code: a copy of it is read, since the hub has none."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lm_eval_codd.benchmarks import BenchmarkTask, DataError, Rows, read_lines
from lm_eval_codd.catalogue import DATA_DIR

__all__ = ["LocalTask"]


class LocalTask(BenchmarkTask):
    """A `BenchmarkTask` whose file, JSON lines or CSV, lies below CODD_DATA_DIR; its metadata says where it is from."""

    def read_rows(self, wanted: Rows) -> tuple[str, Iterable[dict[str, Any]], bool]:
        """The rows of the file; a table's values are text.

        Raises:
            DataError: it is not there, or is none.
        """
        name, published = self.config.task, (self.config.metadata or {}).get("rows_from")
        folder = os.environ.get(DATA_DIR)
        if not folder:
            raise DataError(
                f"{name}: its rows are not on the hub; put a copy of {published} at {wanted.file} in a folder, and "
                f"name that in {DATA_DIR}"
            )
        path = Path(folder).expanduser() / wanted.file
        if not path.is_file():
            raise DataError(f"{name}: no file {path}; put a copy of {published} there")
        return str(path), _table(name, path) if path.suffix == ".csv" else read_lines(name, path), False


def _table(name: str, path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{name}: {path} is no table in UTF-8: {error}; copy the file again") from None
