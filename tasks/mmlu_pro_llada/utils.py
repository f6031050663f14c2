"""MMLU-Pro as OpenCompass shows and grades it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lm_eval_codd.subjects import scores_of_subject

if TYPE_CHECKING:
    import datasets

LETTERS = "ABCDEFGHIJKLMNOP"
_ANSWER = re.compile(r"ANSWER\s*:\s*([A-P])", re.IGNORECASE)


def process_docs(dataset: datasets.Dataset) -> datasets.Dataset:
    """The rows with their options, a line each, those that are "N/A" left out."""
    return dataset.map(lambda row: {"options_str": options_of(row["options"])})


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """Whether the letter behind the first "ANSWER:", a capital one, is the right one, and whether there is one."""
    found = _ANSWER.search(results[0])
    is_right = found is not None and found.group(1) == doc["answer"]
    return scores_of_subject(doc["category"], is_right, is_read=found is not None)


def options_of(options: list[str]) -> str:
    """Lettered, in their lines."""
    lettered = zip(LETTERS, options, strict=False)
    return "".join(f"{letter}. {option}\n" for letter, option in lettered if option != "N/A").strip()
