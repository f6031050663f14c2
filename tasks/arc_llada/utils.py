"""ARC-Challenge as OpenCompass shows and grades it: rows of the validation set with four choices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lm_eval_codd.benchmarks import BenchmarkTask
from lm_eval_codd.grading.opencompass import filled_in
from lm_eval_codd.grading.opencompass_options import first_option
from lm_eval_codd.rows import Read, Rows, select

if TYPE_CHECKING:
    import datasets

LETTERS = "ABCD"


class ArcTask(BenchmarkTask):
    """Leaves out rows with more or fewer choices."""

    def read_rows(self, wanted: Rows) -> Read:
        """As of any benchmark."""
        read = super().read_rows(wanted)
        rows = select(self.config.task, read.source, read.rows, wanted.columns)
        return read._replace(rows=[row for row in rows if len(row["choices"]["text"]) == len(LETTERS)])


def process_docs(dataset: datasets.Dataset) -> datasets.Dataset:
    """The rows with what is `shown` and the letter of the `answer`; labels may be 1 to 4."""
    return dataset.map(
        lambda row: {
            "shown": filled_in(
                {
                    "question": row["question"],
                    "answerKey": "",
                    **{f"text{one}": text for one, text in zip(LETTERS, row["choices"]["text"], strict=True)},
                }
            ),
            "answer": LETTERS[row["choices"]["label"].index(row["answerKey"])],
        }
    )


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the answer chooses the right letter, and whether it chooses one."""
    letter = first_option(results[0], LETTERS)
    return {"accuracy": float(letter == doc["answer"]), "unreadable": float(letter is None)}
