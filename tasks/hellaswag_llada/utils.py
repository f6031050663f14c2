"""HellaSwag as OpenCompass shows and grades it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lm_eval_codd.grading.opencompass import filled_in
from lm_eval_codd.grading.opencompass_options import first_option

if TYPE_CHECKING:
    import datasets

LETTERS = "ABCD"
_IN_BRACKETS = re.compile(r"\[.*?\]")


def process_docs(dataset: datasets.Dataset) -> datasets.Dataset:
    """The rows with what is `shown` and the letter of the `answer`."""
    return dataset.map(lambda row: {"shown": _shown(row), "answer": LETTERS[int(row["label"])]})


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the answer chooses the right letter, and whether it chooses one."""
    letter = first_option(results[0], LETTERS)
    return {"accuracy": float(letter == doc["answer"]), "unreadable": float(letter is None)}


def _shown(row: dict[str, Any]) -> dict[str, str]:
    query = cleaned(f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}")
    endings = dict(zip(LETTERS, map(cleaned, row["endings"]), strict=True))
    return filled_in({"ctx": query.split(": ", 1)[-1], **endings, "label": ""})


def cleaned(text: str) -> str:
    """A text without the marks of WikiHow's pages."""
    return _IN_BRACKETS.sub("", text.strip().replace(" [title]", ". ")).replace("  ", " ")
