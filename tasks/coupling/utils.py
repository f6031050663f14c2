"""The tasks of dependent tokens: rows from `lm_eval_codd.coupling_tasks`, and the scores of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lm_eval_codd.benchmarks import BenchmarkTask
from lm_eval_codd.coupling_tasks.items import prompt, score, test_items
from lm_eval_codd.coupling_tasks.task import Item
from lm_eval_codd.rows import Read, Rows


class CoupledTokensTask(BenchmarkTask):
    """A `BenchmarkTask` whose rows are generated: they need neither the hub nor CODD_DATA_DIR."""

    def read_rows(self, wanted: Rows) -> Read:
        """The test items of the generator that `file` names; they are never a stand-in."""
        task = wanted.file
        rows = [{"task": task, "prompt": prompt(task, item), **asdict(item)} for item in test_items(task)]
        return Read(f"lm_eval_codd/coupling_tasks, {task} (generated)", rows)


def process_results(doc: Mapping[str, Any], results: list[Any]) -> dict[str, float]:
    """Which constraints the answer meets, and whether it meets all."""
    item = Item(asked=doc["asked"], given=tuple(doc["given"]), new=doc["new"], answer=doc["answer"])
    return score(doc["task"], item, results[0])
