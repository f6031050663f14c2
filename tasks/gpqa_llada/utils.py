"""GPQA's diamond rows as LLaDA's copy of OpenCompass shuffles, shows and grades them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from lm_eval_codd.grading.opencompass import filled_in, stated_letter

if TYPE_CHECKING:
    import datasets

SHUFFLE_SEED = 0
COLUMNS = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
LETTERS = "ABCD"


def process_docs(dataset: datasets.Dataset) -> datasets.Dataset:
    """The rows with `question`, `A` to `D` and `answer`; one generator shuffles them all, row by row."""
    from datasets import Dataset

    generator = random.Random(SHUFFLE_SEED)
    return Dataset.from_list([{**row, **_shuffled(row, generator)} for row in dataset])


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the letter in "The correct answer is (X)" is the right one, and whether there is such a text."""
    answer = stated_letter(results[0])
    return {"accuracy": float(answer == doc["answer"]), "unreadable": float(answer is None)}


def _shuffled(row: dict[str, Any], generator: random.Random) -> dict[str, str]:
    """Of equal choices the first has the letter that counts as right."""
    choices = [row[name] for name in COLUMNS]
    generator.shuffle(choices)
    shown = filled_in({"question": row["Question"], **dict(zip(LETTERS, choices, strict=True)), "answer": ""})
    return {**shown, "answer": LETTERS[choices.index(row[COLUMNS[0]])]}
