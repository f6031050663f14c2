"""The cells of the benchmark: a data set, what is corrupted, and how many of its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from lm_eval_codd.code_revision.programs import Program, function_program, text_program

__all__ = ["CELLS", "DATASETS", "ERROR_TYPES", "NUMBERS", "SEED", "VARIANTS", "Cell", "Dataset"]


class Dataset(NamedTuple):
    """Where programs and their tests come from.

    Attributes:
        slug: its name in tasks.
        hub, configuration, revision: on the hub; the revision is the one that the published results were made with.
        file: below the data folder.
        columns: that are read.
        rows: how many it has.
        tests_sha256: of what is run, as the authors fingerprint it.
        left_out: tasks that the authors leave out.
    """

    slug: str
    hub: str
    configuration: str
    revision: str
    file: str
    columns: tuple[str, ...]
    rows: int
    tests_sha256: str
    left_out: tuple[str, ...] = ()

    def program(self, row: Mapping[str, Any]) -> Program:
        """The reference program of a row. Raises `ValueError` and `RuntimeError` as `text_program` does."""
        if "canonical_solution" in self.columns:
            return function_program(row["prompt"], row["canonical_solution"])
        return text_program(row["text" if "text" in self.columns else "prompt"], row["code"])

    def tests(self, row: Mapping[str, Any]) -> str:
        """What a program must get through: for MBPP+ its three plain assertions, as the authors have it."""
        if "entry_point" in self.columns:
            return f"{row['test']}\ncheck({row['entry_point']})"
        setup = row["test_imports" if "test_imports" in self.columns else "test_setup_code"]
        return "\n".join([*([setup] if isinstance(setup, str) and setup else setup or []), *row["test_list"]])

    def tested(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What `tests_sha256` is of, of one row."""
        if "entry_point" in self.columns:
            return {name: row[name] for name in ("test", "entry_point", "prompt")}
        setup, text = ("test_imports", "prompt") if "test_imports" in self.columns else ("test_setup_code", "text")
        return {"test_list": row["test_list"], "test_setup_code": row[setup], "prompt": row[text]}


_HUMANEVAL: Final = ("task_id", "prompt", "canonical_solution", "test", "entry_point")

# By the names that the published files have for them.
DATASETS: Final[Mapping[str, Dataset]] = {
    "human-eval": Dataset(
        slug="humaneval",
        hub="openai/openai_humaneval",
        configuration="openai_humaneval",
        revision="7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544",
        file="humaneval/test.jsonl",
        columns=_HUMANEVAL,
        rows=164,
        tests_sha256="d5817fb0ff65a707dcb878015fabaac0512824f7c61f9d09dadf155469b29b90",
    ),
    "human-eval+": Dataset(
        slug="humaneval_plus",
        hub="evalplus/humanevalplus",
        configuration="default",
        revision="d32357cf319e50e9c8d8dab5ea876c72b0fd321b",
        file="humaneval_plus/test.jsonl",
        columns=_HUMANEVAL,
        rows=164,
        tests_sha256="501296e748fefaf91530cf8957fe1a9541e6949d07c87cd2375ced5aa43de93f",
        left_out=("HumanEval/32",),
    ),
    "mbpp": Dataset(
        slug="mbpp",
        hub="google-research-datasets/mbpp",
        configuration="full",
        revision="4bb6404fdc6cacfda99d4ac4205087b89d32030c",
        file="mbpp/test.jsonl",
        columns=("task_id", "text", "code", "test_list", "test_setup_code"),
        rows=500,
        tests_sha256="3be3947282d34db75adb582ddd78ccacd1977657289083d110dd21659ffc2a24",
        left_out=("342",),
    ),
    "mbpp+": Dataset(
        slug="mbpp_plus",
        hub="evalplus/mbppplus",
        configuration="default",
        revision="b2d74c91837c3f2a20c1299ae98133cbe7cfa077",
        file="mbpp_plus/test.jsonl",
        columns=("task_id", "prompt", "code", "test_list", "test_imports"),
        rows=378,
        tests_sha256="0238d3bfbecda05cd1b36d1c9d8fced4e1f70dd5c11f26ed65298ceb33bd86a4",
        left_out=("342",),
    ),
}
# What the published files were made with: of each cell its generator's seed, and corrupted variants of a program.
SEED: Final = 42
VARIANTS: Final = 2
ERROR_TYPES: Final = ("operator", "var", "literal")
NUMBERS: Final = (1, 2, 3, 4, 5)


class Cell(NamedTuple):
    """What is corrupted: `human-eval`, `operator`, 1 token."""

    dataset: str
    error_type: str
    number: int

    @property
    def slug(self) -> str:
        """Its name in tasks: `crb_humaneval_operator_1`."""
        return f"crb_{DATASETS[self.dataset].slug}_{self.error_type}_{self.number}"

    @property
    def label(self) -> str:
        """In words."""
        return f"{self.dataset} {self.error_type} {self.number}"


# The 60 of the benchmark; the published headline is over the 12 with one token.
CELLS: Final = tuple(Cell(*cell) for cell in [(d, e, n) for n in NUMBERS for d in DATASETS for e in ERROR_TYPES])
