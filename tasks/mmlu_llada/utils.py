"""MMLU as OpenCompass shows and grades it: five examples of the row's subject, each two turns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lm_eval_codd.grading.opencompass import filled_in
from lm_eval_codd.grading.opencompass_options import first_option
from lm_eval_codd.rounds import RoundsTask
from lm_eval_codd.rows import DataError, Read, Rows, rows_of, select
from lm_eval_codd.subjects import scores_of_subject

if TYPE_CHECKING:
    import datasets

LETTERS = "ABCD"
NUM_EXAMPLES = 5
# Of an example, where a question has "Q:" and "A:".
EXAMPLE = "{hint}\nQuestion: {input}\nA. {A}\nB. {B}\nC. {C}\nD. {D}\nAnswer: "


class MmluTask(RoundsTask):
    """Has the first five rows of the development set as examples, by subject."""

    _by_subject: Mapping[str, Sequence[tuple[str, str]]]

    def read_rows(self, wanted: Rows) -> Read:
        """As of any benchmark, with the examples."""
        config = self.config
        of_dev = replace(wanted, file="mmlu/dev.jsonl")
        of_subjects = rows_of(config.task, of_dev, config.dataset_path, config.dataset_name, "dev")
        found = defaultdict(list)
        for row in select(config.task, of_subjects.source, of_subjects.rows, wanted.columns):
            found[row["subject"]].append(example_of(row))
        self._by_subject = {subject: examples[:NUM_EXAMPLES] for subject, examples in found.items()}
        return super().read_rows(wanted)

    def examples(self, doc: dict[str, Any]) -> Sequence[tuple[str, str]]:
        """Those of a row's subject. Raises `DataError` where the development set has too few of it."""
        examples = self._by_subject.get(doc["subject"], ())
        if len(examples) < NUM_EXAMPLES:
            raise DataError(
                f"{self.config.task}: the development set has {len(examples)} rows of {doc['subject']}, and "
                f"{NUM_EXAMPLES} are shown; copy all of it"
            )
        return examples


def process_docs(dataset: datasets.Dataset) -> datasets.Dataset:
    """The rows with their `hint`, what is `shown` and the letter of the `target`."""
    return dataset.map(lambda row: {"hint": hint_of(row), "shown": _shown(row, ""), "target": LETTERS[row["answer"]]})


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """Whether the answer chooses the right letter, and whether it chooses one."""
    letter = first_option(results[0], LETTERS)
    return scores_of_subject(doc["subject"], letter == doc["target"], is_read=letter is not None)


def example_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """A row of the development set as a question and its answer."""
    target = LETTERS[row["answer"]]
    return EXAMPLE.format(hint=hint_of(row), **_shown(row, target)), f"{target}\n"


def hint_of(row: Mapping[str, Any]) -> str:
    """What a prompt begins with."""
    subject = row["subject"].replace("_", " ")
    return f"There is a single choice question about {subject}. Answer the question by replying A, B, C or D."


def _shown(row: Mapping[str, Any], target: str) -> dict[str, str]:
    return filled_in({"input": row["question"], **dict(zip(LETTERS, row["choices"], strict=True)), "target": target})
