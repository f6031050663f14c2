"""GPQA's four choices, cleaned and shuffled as in the paper's runs."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datasets

# lm-eval seeds its global generator with this and draws row by row; so does the generator below, whatever ran before.
SHUFFLE_SEED = 0


def process_docs(dataset: datasets.Dataset) -> datasets.Dataset:
    """Add `choice1` to `choice4`, `choices` and `answer` ("(A)" to "(D)") to every row."""
    from datasets import Dataset

    generator = random.Random(SHUFFLE_SEED)
    return Dataset.from_list([_shuffled(row, generator) for row in dataset])


def _shuffled(row: dict[str, Any], generator: random.Random) -> dict[str, Any]:
    correct = clean(row["Correct Answer"])
    choices = [*(clean(row[f"Incorrect Answer {number}"]) for number in (1, 2, 3)), correct]
    generator.shuffle(choices)
    numbered = {f"choice{number}": choice for number, choice in enumerate(choices, start=1)}
    return {**row, **numbered, "choices": choices, "answer": f"({'ABCD'[choices.index(correct)]})"}


def clean(text: str | None) -> str:
    """A choice as the paper's harness showed it: version 2.0 of the stock task, which drops what stands in brackets.

    lm-eval's version 2.2 keeps it.
    """
    if text is None:
        return " "
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")
