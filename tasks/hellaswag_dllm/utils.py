"""HellaSwag's rows as dLLM's fork of lm-eval shows them: cleaned as by lm-eval, four endings with letters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import datasets

# In lower case, as answers are read.
_LETTERS: Final = "abcd"


def process_docs(dataset: datasets.Dataset) -> datasets.Dataset:
    """Add `query`, `choices` and `letter` (a to d) to every row."""
    return dataset.map(_shown)


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    context = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
    return {
        "query": _clean(context),
        "choices": [_clean(ending) for ending in row["endings"]],
        "letter": _LETTERS[int(row["label"])],
    }


def _clean(text: str) -> str:
    """Without the marks of WikiHow's pages, `[header]` and the like."""
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")
