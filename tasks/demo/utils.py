"""Data of the demo's task."""

from __future__ import annotations

from typing import Any

from datasets import Dataset, DatasetDict

from lm_eval_codd.demo import load_split


def load_problems(**_: Any) -> DatasetDict:
    """The 300 held-out problems as the split `test`; lm-eval passes metadata, which nothing here reads."""
    return DatasetDict(test=Dataset.from_list(load_split("test")))
