"""Where a benchmark's rows come from, and what a result says about them.

A task's YAML names `BenchmarkTask` as its `class` and describes its rows under `dataset_kwargs`. The rows come from
the hub, or from the files below the folder that the environment variable CODD_DATA_DIR names. Either way their number
and a hash of their content go into the results, beside those of the published set.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import datasets

try:  # lm-eval 0.5: a class for each output type, and `ConfigurableTask` is the abstract one above them
    from lm_eval.api.task._generation import GenerateTask
    from lm_eval.api.task._ll import LoglikelihoodRollingTask as RollingTask
except ModuleNotFoundError:  # lm-eval 0.4: one class for all
    from lm_eval.api.task import ConfigurableTask as GenerateTask
    from lm_eval.api.task import ConfigurableTask as RollingTask

from lm_eval_codd.catalogue import DATA_DIR
from lm_eval_codd.grading import INVALID
from lm_eval_codd.templates import PAPER, TEMPLATE, templates_of, under_template

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

__all__ = [
    "HAS_OUTPUT_TYPES",
    "BenchmarkTask",
    "DataError",
    "Provenance",
    "RollingTask",
    "Rows",
    "RowsTask",
    "content_hash",
    "read_lines",
    "rows_of",
    "select",
    "unreadable",
]

# Whether this lm-eval is 0.5, with a class for each output type.
HAS_OUTPUT_TYPES: Final = GenerateTask.__name__ == "GenerateTask"

# Column of the configuration that a row is of, where there are several.
PART: Final = "part"

_logger = logging.getLogger(__name__)


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


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a result says about its rows, in `configs[task].metadata.data`.

    Attributes:
        source: hub id, configuration and split, or the path of the file.
        rows: how many there are (before any `--limit`).
        sha256: their `content_hash`.
        expected_rows: how many the published set has.
        expected_sha256: its hash; None where it is not public.
        is_published_set: number and, where known, hash are equal, and the rows are no stand-in.
    """

    source: str
    rows: int
    sha256: str
    expected_rows: int
    expected_sha256: str | None
    is_published_set: bool


class RowsTask:
    """The part of a task whose results say which rows it was measured on; lm-eval's class comes after it as a base.

    `--metadata template=NAME` puts its questions in another way (`lm_eval_codd.templates`).

    Where the rows are not the published set, the log warns and the task's printed name says so.
    """

    config: Any
    _docs: datasets.Dataset | None = None

    def __init__(self, config: dict[str, Any]) -> None:
        own = _under_template({key: value for key, value in config.items() if key != "class"})
        super().__init__(config=own)  # type: ignore[call-arg]  # of lm-eval's class
        # lm-eval 0.5 sets this no more, though its evaluator asks for it.
        self.UNSAFE_CODE = self.config.unsafe_code
        # lm-eval 0.5 would read the rows after the checkpoint is loaded: too late to say that they are not there.
        _ = self.dataset

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Called by lm-eval once, to fill `dataset`.

        Raises:
            DataError: the rows are missing, unreadable, or gated on the hub.
        """
        name, split = self.config.task, self.config.test_split
        wanted = Rows(**dataset_kwargs or {})
        source, raw, is_stand_in = self.read_rows(wanted)
        rows = select(name, source, raw, wanted.columns)
        sha256 = content_hash(rows, wanted.columns)
        provenance = Provenance(
            source=source,
            rows=len(rows),
            sha256=sha256,
            expected_rows=wanted.rows,
            expected_sha256=wanted.sha256,
            is_published_set=not is_stand_in and len(rows) == wanted.rows and wanted.sha256 in (None, sha256),
        )
        self.config.metadata = {**(self.config.metadata or {}), "data": asdict(provenance), **self.about(rows)}
        if not provenance.is_published_set:
            self.config.task_alias = f"{name} ({len(rows)} rows, not the published {wanted.rows})"
            _logger.warning(
                "%s: %s has %d rows that are not the published %d; their scores cannot be compared with published ones",
                name,
                source,
                len(rows),
                wanted.rows,
            )
        self.dataset = {split: self.documents(rows)}

    def documents(self, rows: list[dict[str, Any]]) -> datasets.Dataset:
        """What is evaluated, of the rows."""
        return datasets.Dataset.from_list(rows)

    def read_rows(self, wanted: Rows) -> tuple[str, Iterable[dict[str, Any]], bool]:
        """Where the rows come from, the rows, and whether they are the stand-in; from CODD_DATA_DIR or the hub."""
        config = self.config
        return rows_of(config.task, wanted, config.dataset_path, config.dataset_name, config.test_split)

    def about(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What else a result says of the rows, in its metadata; for tasks that change them."""
        return {}

    def test_docs(self) -> datasets.Dataset:
        """The rows as the task processes them; done once, where lm-eval would do it at each access."""
        if self._docs is None:
            self._docs = super().test_docs()  # type: ignore[misc]  # of lm-eval's class
        return self._docs


class BenchmarkTask(RowsTask, GenerateTask):
    """A `RowsTask` that asks for answers."""

    def build_all_requests(self, **given: Any) -> list[Instance] | None:
        """As lm-eval's; says so where a chat template is applied to a task that is evaluated without."""
        if given.get("apply_chat_template") and (self.config.metadata or {}).get("chat_template") is False:
            _logger.warning(
                "%s: its protocol has no chat template; leave out --apply_chat_template to compare with published "
                "numbers",
                self.config.task,
            )
        return super().build_all_requests(**given)

    def doc_to_target(self, doc: dict[str, Any], doc_to_target: Any = None) -> str:
        """The gold answer as text; lm-eval 0.5 makes a number of one that is all digits, which equals no answer."""
        return str(super().doc_to_target(doc, doc_to_target))


def _under_template(config: dict[str, Any]) -> dict[str, Any]:
    """A task's configuration under the template that `--metadata template=NAME` chose, which its result then names.

    Raises:
        ValueError: the task has no such template.
    """
    name, metadata = str(config.get("task", "")), dict(config.get("metadata") or {})
    template = str(metadata.get(TEMPLATE, PAPER))
    asked = under_template(config, template)
    if templates_of(name):
        metadata[TEMPLATE] = template
    return {**asked, "metadata": metadata}


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


def unreadable(references: Sequence[Any], predictions: Sequence[str]) -> float | list[float]:
    """lm-eval metric of one document: 1 where the filter found no answer, else 0; `references` is not read.

    lm-eval 0.5 takes a value for each of a document's answers, 0.4 the value of its one answer.
    """
    values = [float(prediction == INVALID) for prediction in predictions]
    return values if HAS_OUTPUT_TYPES else values[0]


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
