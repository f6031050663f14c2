"""Files of corrupted programs, made as the authors made theirs (spec/decoders.md 5.4)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd import sandbox
from lm_eval_codd.code_revision.cells import DATASETS, SEED, VARIANTS, Cell
from lm_eval_codd.code_revision.operators import Corruption, corrupt_operators
from lm_eval_codd.code_revision.words import corrupt_words
from lm_eval_codd.rows import Rows, rows_of, select

if TYPE_CHECKING:
    from lm_eval_codd.code_revision.tokens import Tokens

__all__ = ["TIMEOUT_SECONDS", "make_cell", "mark_passed", "read_dataset"]

TIMEOUT_SECONDS: Final = 8.0


def read_dataset(name: str, who: str = "crb") -> tuple[str, list[dict[str, Any]]]:
    """Where a data set of the benchmark comes from (CODD_DATA_DIR, or the hub at its revision), and its rows.

    Raises:
        DataError: they are missing or have not the columns; one line that begins with `who`.
    """
    dataset = DATASETS[name]
    wanted = Rows(file=dataset.file, columns=dataset.columns, rows=dataset.rows)
    read = rows_of(who, wanted, dataset.hub, dataset.configuration, "test", dataset.revision)
    return read.source, select(who, read.source, read.rows, dataset.columns)


def make_cell(
    cell: Cell, rows: Sequence[Mapping[str, Any]], tokens: Tokens, *, seed: int = SEED, variants: int = VARIANTS
) -> Iterator[dict[str, Any]]:
    """Corrupted programs of a cell, in the order of the data set's rows.

    Args:
        cell: which data set, what is corrupted, and how many tokens.
        rows: of the data set.
        tokens: the tokenizer, whose positions the file will hold.
        seed: of the one generator that the cell is drawn from.
        variants: of each program; of equal ones one is kept.

    Yields:
        Rows of the published layout but for the tests' result (`mark_passed`), each saying its cell, its tokenizer, and
        whether it is a new sample or such as the published files hold.

    Raises:
        ValueError: a program cannot be split; one line with its task.
        RuntimeError: autopep8 is missing.
    """
    rng, dataset = random.Random(seed), DATASETS[cell.dataset]
    seen: set[tuple[str, str]] = set()
    for row in rows:
        task = str(row["task_id"])
        if task in dataset.left_out:
            continue
        try:
            program = dataset.program(row)
        except ValueError as error:
            raise ValueError(f"{cell.dataset}, task {task}: {error}; leave the row out") from None
        for _ in range(variants):
            corruption = _corrupted(program.body, cell, tokens, rng)
            if corruption is None:
                break
            if (task, corruption.body) in seen:
                continue
            seen.add((task, corruption.body))
            yield {
                "task_id": task,
                "function_head": program.head,
                "buggy_body": corruption.body,
                "error_positions": corruption.positions,
                "error_original_tokens": corruption.originals,
                "dataset": cell.dataset,
                "error_type": cell.error_type,
                "n_replace": cell.number,
                "tokenizer": tokens.name,
                "new_sample": cell.error_type != "operator" or (seed, variants) != (SEED, VARIANTS),
            }


def mark_passed(
    made: Iterable[Mapping[str, Any]], dataset: str, rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Run the corrupted programs in the sandbox: `test_passed` and `test_result` of each, as the task wants them.

    Args:
        made: of one data set.
        dataset: its name.
        rows: its rows, which hold the tests.
    """
    made = list(made)
    tests = {str(row["task_id"]): DATASETS[dataset].tests(row) for row in rows}
    programs = [(row["function_head"] + row["buggy_body"], tests[row["task_id"]]) for row in made]
    outcomes = sandbox.run_programs(programs, timeout=TIMEOUT_SECONDS)
    return [
        {**row, "test_passed": outcome.passed, "test_result": ": ".join(filter(None, (outcome.status, outcome.detail)))}
        for row, outcome in zip(made, outcomes, strict=True)
    ]


def _corrupted(body: str, cell: Cell, tokens: Tokens, rng: random.Random) -> Corruption | None:
    if cell.error_type == "operator":
        return corrupt_operators(body, cell.number, tokens, rng)
    return corrupt_words(body, cell.number, cell.error_type, tokens, rng)
