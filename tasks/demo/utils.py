"""The demo's task reads the problems that come with the package."""

from __future__ import annotations

from lm_eval_codd.benchmarks import BenchmarkTask
from lm_eval_codd.demo import load_split
from lm_eval_codd.rows import Read, Rows


class DemoTask(BenchmarkTask):
    """A `BenchmarkTask` whose rows need neither the hub nor CODD_DATA_DIR."""

    def read_rows(self, wanted: Rows) -> Read:
        """The held-out problems; they are never a stand-in."""
        return Read(f"lm_eval_codd/demo/{wanted.file} (synthetic)", load_split("test"))
