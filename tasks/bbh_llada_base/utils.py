"""BIG-Bench Hard as OpenCompass shows and grades it: three worked examples of the row's part, in one text."""

from __future__ import annotations

import functools
import hashlib
import json
from typing import TYPE_CHECKING, Any

from lm_eval_codd.benchmarks import BenchmarkTask
from lm_eval_codd.grading.opencompass import bbh_choice, bbh_text
from lm_eval_codd.rows import PART, DataError
from lm_eval_codd.subjects import scores_of_subject
from lm_eval_codd.task_files import read_task_file, stock_tasks_dir

if TYPE_CHECKING:
    import datasets

# Parts whose answer is a letter.
OF_CHOICES = frozenset(
    (
        *("date_understanding", "disambiguation_qa", "geometric_shapes", "hyperbaton", "movie_recommendation"),
        *("penguins_in_a_table", "reasoning_about_colored_objects", "ruin_names", "snarks", "temporal_sequences"),
        "salient_translation_error_detection",
        *(f"logical_deduction_{number}_objects" for number in ("three", "five", "seven")),
        *(f"tracking_shuffled_objects_{number}_objects" for number in ("three", "five", "seven")),
    )
)
# Of all parts with their examples, in the order of their names, as OpenCompass 0.5.0 has them.
SHA256 = "dfab9dc9f8f405c1e8da8fcad60d8c8465c60afdd855e1762190eeef9b33de26"
# The one whose examples stand in one line with "Let's think step by step."
IN_LINE = "sports_understanding"


class BbhTask(BenchmarkTask):
    """Is refused where lm-eval, whose examples are the same, has other ones."""

    def __init__(self, config: dict[str, Any]) -> None:
        names = sorted(config["dataset_kwargs"]["configurations"])
        try:
            found = hashlib.sha256(json.dumps([[name, hint_of(name)] for name in names]).encode()).hexdigest()
        except (AttributeError, KeyError, TypeError):
            found = ""
        if found != SHA256:
            raise DataError(
                f"{config['task']}: the examples of BIG-Bench Hard in this lm-eval are not those that OpenCompass "
                "shows; use lm-eval 0.4.13"
            )
        super().__init__(config)


def process_docs(dataset: datasets.Dataset) -> datasets.Dataset:
    """The rows with the examples of their part."""
    return dataset.map(lambda row: {"hint": hint_of(row[PART])})


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """Whether the answer is the gold one: the letters of both, or the text behind "answer is"; all can be read."""
    read = bbh_choice if doc[PART] in OF_CHOICES else bbh_text
    gold = bbh_choice(doc["target"]) if doc[PART] in OF_CHOICES else doc["target"]
    answer = read(results[0])
    return scores_of_subject(doc[PART], answer == gold, is_read=bool(answer))


@functools.cache
def hint_of(part: str) -> str:
    """What a part is about, and its examples, out of lm-eval's own task of it."""
    content = read_task_file(stock_tasks_dir() / "bbh" / "cot_fewshot" / f"{part}.yaml")
    between = " " if part == IN_LINE else "\n"
    examples = [
        f"Q: {one['input']}\nA: Let's think step by step.{between}{one['target']}"
        for one in content["fewshot_config"]["samples"]
    ]
    return content["description"] + "\n\n".join(examples)
