"""Rows of stock tasks' schemas, made up, so that lm-eval's own task files run without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import lm_eval.tasks
import pytest
from lm_eval.tasks import TaskManager

_QUESTIONS = [
    {"question": f"What is {i} and {i}?", "choices": {"text": [str(2 * i), "many", "a fish"], "label": ["A", "B", "C"]}}
    for i in range(1, 6)
]
_SENTENCES = ["The cup did not fit into the box since the _ is too big.", "The cup is in the box since the _ is wee."]

ROWS: dict[str, dict[str, list[dict[str, Any]]]] = {
    "allenai/ai2_arc": {"test": [{"id": str(i), **row, "answerKey": "A"} for i, row in enumerate(_QUESTIONS)]},
    "EleutherAI/wikitext_document_level": {
        "test": [{"page": " = Heading = \n\n " + "a word or two , and a third . " * n} for n in (1, 3, 5, 14)]
    },
    "EleutherAI/lambada_openai": {"test": [{"text": f"one two three {word}"} for word in ("four", "five", "a", "b")]},
    "allenai/winogrande": {
        "validation": [
            {"sentence": sentence, "option1": "cup", "option2": "box", "answer": str(1 + i % 2)}
            for i, sentence in enumerate(_SENTENCES * 2)
        ]
    },
    "Rowan/hellaswag": {
        "validation": [
            {
                **{"ind": i, "activity_label": "Cooking", "ctx_a": "A man stirs.", "ctx_b": "he"},
                **{"endings": ["eats.", "sleeps [substeps] a bit.", "sings.", "x"], "label": str(i % 4)},
            }
            for i in range(3)
        ]
    },
    "cais/mmlu": {
        split: [{"question": f"Bone {i}?", "choices": ["w", "x", "y", "z"], "answer": i % 4} for i in range(number)]
        for split, number in (("test", 3), ("dev", 5), ("validation", 1))
    },
    "Idavidrein/gpqa": {
        "train": [
            {
                **{"Question": f"Why {i}?", "Correct Answer": "so", "Incorrect Answer 1": "no"},
                **{"Incorrect Answer 2": None, "Incorrect Answer 3": "not so"},
            }
            for i in range(3)
        ]
    },
}
TASKS = ("arc_easy", "wikitext", "lambada_openai", "winogrande", "hellaswag", "mmlu_anatomy", "gpqa_main_zeroshot")
_FOLDERS = ("arc", "wikitext", "lambada", "winogrande", "hellaswag", "mmlu/default", "gpqa/zeroshot")


def manager() -> TaskManager:
    """Of these tasks alone: lm-eval's own files, of which all would take half a minute to index."""
    folder = Path(lm_eval.tasks.__file__).parent
    return TaskManager(include_defaults=False, include_path=[str(folder / name) for name in _FOLDERS])


def load_dataset(path: str, *args: Any, **kwargs: Any) -> datasets.DatasetDict:
    """In the place of the hub's."""
    splits = {name: datasets.Dataset.from_list(rows) for name, rows in ROWS[path].items()}
    any_split = next(iter(splits.values()))
    return datasets.DatasetDict({"train": any_split, "validation": any_split, "test": any_split, **splits})


def values(result: dict[str, Any]) -> dict[tuple[str, int], list[float]]:
    """Every log-likelihood of a result, by task and document."""
    return {
        (task, sample["doc_id"]): [
            float(response[0][0] if isinstance(response[0], list | tuple) else response[0])
            for response in sample["resps"]
        ]
        for task, samples in result["samples"].items()
        for sample in samples
    }


def same(one: dict[Any, list[float]], other: dict[Any, list[float]]) -> bool:
    """Whether two runs have the same log-likelihoods, up to the rounding of their batches."""
    return one.keys() == other.keys() and all(one[key] == pytest.approx(other[key], abs=2e-3) for key in one)
