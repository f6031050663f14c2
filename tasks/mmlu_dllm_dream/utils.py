"""MMLU with worked examples of each question's own subject, as lm-eval has them where every subject is a task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.benchmarks import BenchmarkTask
from lm_eval_codd.rows import DataError, Rows, rows_of, select

if TYPE_CHECKING:
    import datasets

_LETTERS: Final = "ABCD"
# The development rows: five of each subject.
_EXAMPLES: Final = Rows(file="mmlu/dev.jsonl", columns=["question", "subject", "choices", "answer"], rows=285)
_MOST_SHOTS: Final = 5


class SubjectTask(BenchmarkTask):
    """Takes `shots` (0 to 5, by default 0) from lm-eval's `--metadata`: how many examples stand before a question."""

    def __init__(self, config: dict[str, Any]) -> None:
        given = str((config.get("metadata") or {}).get("shots", 0))
        if given not in map(str, range(_MOST_SHOTS + 1)):
            raise ValueError(f"`--metadata shots={given}` is not a number from 0 to {_MOST_SHOTS}")
        self._shots = int(given)
        super().__init__({**config, "metadata": {**config["metadata"], "shots": self._shots}})

    def documents(self, rows: list[dict[str, Any]]) -> datasets.Dataset:
        """The rows, each with its `examples` as text."""
        texts = self._examples({row["subject"] for row in rows}) if self._shots else {}
        return super().documents([{**row, "examples": texts.get(row["subject"], "")} for row in rows])

    def _examples(self, subjects: set[str]) -> Mapping[str, str]:
        """By subject. Raises `DataError` where one has too few."""
        name, config = self.config.task, self.config
        source, raw, _ = rows_of(name, _EXAMPLES, config.dataset_path, config.dataset_name, "dev")
        by_subject: dict[str, list[str]] = defaultdict(list)
        for row in select(name, source, raw, _EXAMPLES.columns):
            by_subject[row["subject"]].append(_solved(row))
        for subject in sorted(subjects):
            if len(by_subject[subject]) < self._shots:
                found = f"{len(by_subject[subject])} examples of {subject}"
                raise DataError(f"{name}: {source} has {found}, and `shots={self._shots}` needs as many of each")
        return {subject: "".join(by_subject[subject][: self._shots]) for subject in subjects}


def _solved(row: Mapping[str, Any]) -> str:
    choices = "\n".join(f"{letter}. {choice}" for letter, choice in zip(_LETTERS, row["choices"], strict=True))
    return f"{row['question'].strip()}\n{choices}\nAnswer: {_LETTERS[row['answer']]}\n\n"
