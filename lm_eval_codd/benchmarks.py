"""Tasks of benchmarks: which rows they are measured on, and what a result says about these.

A task's YAML names `BenchmarkTask` as its `class` and describes its rows under `dataset_kwargs`. The rows come from
the hub, or from the files below the folder that the environment variable CODD_DATA_DIR names. Either way their number
and a hash of their content go into the results, beside those of the published set.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import datasets

try:  # lm-eval 0.5: a class for each output type, and `ConfigurableTask` is the abstract one above them
    from lm_eval.api.task._generation import GenerateTask
    from lm_eval.api.task._ll import LoglikelihoodRollingTask as RollingTask
except ModuleNotFoundError:  # lm-eval 0.4: one class for all
    from lm_eval.api.task import ConfigurableTask as GenerateTask
    from lm_eval.api.task import ConfigurableTask as RollingTask

from lm_eval_codd.grading import INVALID
from lm_eval_codd.rows import Read, Rows, content_hash, rows_of, select
from lm_eval_codd.templates import PAPER, TEMPLATE, templates_of, under_template

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

__all__ = [
    "HAS_OUTPUT_TYPES",
    "BenchmarkTask",
    "Provenance",
    "RollingTask",
    "RowsTask",
    "unreadable",
]

# Whether this lm-eval is 0.5, with a class for each output type.
HAS_OUTPUT_TYPES: Final = GenerateTask.__name__ == "GenerateTask"

_logger = logging.getLogger(__name__)


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
        read = self.read_rows(wanted)
        rows = select(name, read.source, read.rows, wanted.columns)
        sha256 = content_hash(rows, wanted.columns)
        provenance = Provenance(
            source=read.source,
            rows=len(rows),
            sha256=sha256,
            expected_rows=wanted.rows,
            expected_sha256=wanted.sha256,
            is_published_set=not read.is_stand_in and len(rows) == wanted.rows and wanted.sha256 in (None, sha256),
        )
        self.config.metadata = {**(self.config.metadata or {}), "data": asdict(provenance), **self.about(rows)}
        if not provenance.is_published_set:
            self.config.task_alias = f"{name} ({len(rows)} rows, not the published {wanted.rows})"
            _logger.warning(
                "%s: %s has %d rows that are not the published %d; their scores cannot be compared with published ones",
                name,
                read.source,
                len(rows),
                wanted.rows,
            )
        self.dataset = {split: self.documents(rows)}

    def documents(self, rows: list[dict[str, Any]]) -> datasets.Dataset:
        """What is evaluated, of the rows."""
        return datasets.Dataset.from_list(rows)

    def read_rows(self, wanted: Rows) -> Read:
        """The rows from CODD_DATA_DIR, or from the hub; for tasks that have theirs from elsewhere."""
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


def unreadable(references: Sequence[Any], predictions: Sequence[str]) -> float | list[float]:
    """lm-eval metric of one document: 1 where the filter found no answer, else 0; `references` is not read.

    lm-eval 0.5 takes a value for each of a document's answers, 0.4 the value of its one answer.
    """
    values = [float(prediction == INVALID) for prediction in predictions]
    return values if HAS_OUTPUT_TYPES else values[0]
