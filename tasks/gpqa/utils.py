"""GPQA's four choices, cleaned and shuffled as in the paper's runs."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lm_eval_codd.benchmarks import BenchmarkTask

if TYPE_CHECKING:
    import datasets

# lm-eval seeds its global generator with this and draws row by row; so does the generator below, whatever ran before.
SHUFFLE_SEED = 0
COLUMNS = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3", "Correct Answer")

_logger = logging.getLogger("lm_eval_codd.gpqa")


class ChoiceTask(BenchmarkTask):
    """Takes `clean` (`paper` or `off`) from lm-eval's `--metadata`, and counts the rows with choices that are equal.

    Of equal choices the first has the letter that counts as right, as in the paper's runs.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        mode = (config.get("metadata") or {}).get("clean", "paper")
        if mode not in MODES:
            raise ValueError(f"`--metadata clean={mode}` is not one of {', '.join(MODES)}")
        self._clean, process = MODES[mode]
        super().__init__({**config, "process_docs": process})

    def about(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The number of rows of which two choices read the same."""
        equal = [number for number, row in enumerate(rows) if len({self._clean(row[name]) for name in COLUMNS}) < 4]
        if equal:
            _logger.warning(
                "%s: two choices read the same in %d of %d rows (first: row %d), and the letter of the first counts%s",
                self.config.task,
                len(equal),
                len(rows),
                equal[0],
                "" if self._clean is strip else "; `--metadata clean=off` keeps what the paper's cleaning drops",
            )
        return {"rows_with_equal_choices": len(equal)}


def clean(text: str | None) -> str:
    """A choice as the paper's harness showed it: version 2.0 of the stock task, which drops what stands in brackets.

    lm-eval's version 2.2 keeps it.
    """
    if text is None:
        return " "
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def strip(text: str | None) -> str:
    """A choice as the data set has it, without blanks around it."""
    return (text or "").strip() or " "


def process_docs(dataset: datasets.Dataset) -> datasets.Dataset:
    """Add `choice1` to `choice4`, `choices` and `answer` ("(A)" to "(D)") to every row, as in the paper's runs."""
    return _processed(dataset, clean)


def process_docs_as_written(dataset: datasets.Dataset) -> datasets.Dataset:
    """The same without cleaning."""
    return _processed(dataset, strip)


# Values of `clean`: how a choice reads, and what makes rows of it.
MODES = {"paper": (clean, process_docs), "off": (strip, process_docs_as_written)}


def _processed(dataset: datasets.Dataset, cleaned: Callable[[str | None], str]) -> datasets.Dataset:
    from datasets import Dataset

    generator = random.Random(SHUFFLE_SEED)
    return Dataset.from_list([_shuffled(row, generator, cleaned) for row in dataset])


def _shuffled(row: dict[str, Any], generator: random.Random, cleaned: Callable[[str | None], str]) -> dict[str, Any]:
    choices = [cleaned(row[name]) for name in COLUMNS]
    correct = choices[-1]
    generator.shuffle(choices)
    numbered = {f"choice{number}": choice for number, choice in enumerate(choices, start=1)}
    return {**row, **numbered, "choices": choices, "answer": f"({'ABCD'[choices.index(correct)]})"}
