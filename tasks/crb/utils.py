"""The Code Revision Benchmark: a corrupted program is a draft, and what a decoder makes of it is tested."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import datasets

from lm_eval_codd import sandbox
from lm_eval_codd.code_revision.cells import Cell
from lm_eval_codd.code_revision.inputs import read_inputs, tests_of
from lm_eval_codd.code_revision.make import TIMEOUT_SECONDS
from lm_eval_codd.programs import ProgramTask
from lm_eval_codd.rows import DataError

# A decode of one more step has the program after 1 to 4 rounds of correction.
ROUNDS = 4
HITS = (1, 3, 5)


class RevisionTask(ProgramTask):
    """The programs of one cell that fail their tests.

    Takes `inputs` from lm-eval's `--metadata`: a folder in the published layout, or a file of `lm-eval-codd crb make`.
    """

    timeout_seconds = TIMEOUT_SECONDS

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Called by lm-eval once, to fill `dataset`.

        Raises:
            DataError: the programs or their tests are missing or unreadable.
        """
        given = dict(dataset_kwargs or {})
        expected = given.pop("md5")
        cell, name = Cell(**given), self.config.task
        metadata = self.config.metadata or {}
        inputs, tests = read_inputs(cell, metadata.get("inputs")), tests_of(cell.dataset)
        failing = [row for row in inputs.rows if not row["test_passed"]]
        if not failing:
            raise DataError(f"{name}: every program of {inputs.source} passes its tests; there is nothing to revise")
        unknown = [row["task_id"] for row in failing if row["task_id"] not in tests.by_task]
        if unknown:
            raise DataError(f"{name}: {tests.source} has no task {unknown[0]}; its tests are needed")
        is_published = inputs.md5 == expected and tests.are_published
        data = {
            "source": inputs.source,
            "rows": len(failing),
            "passed_before": len(inputs.rows) - len(failing),
            "new_samples": inputs.num_new,
            "md5": inputs.md5,
            "expected_md5": expected,
            "tests": tests.source,
            "tests_are_published": tests.are_published,
            "is_published_set": is_published,
        }
        self.config.metadata = {**metadata, "data": data, "tokenizer": inputs.tokenizer, "cell": list(cell)}
        if not is_published:
            kind = "a new sample" if inputs.num_new else "not the published ones"
            self.config.task_alias = f"{name} ({len(failing)} programs, {kind})"
        kept = ("task_id", "function_head", "buggy_body", "error_positions")
        rows = [{"dataset": cell.dataset, **{column: row[column] for column in kept}} for row in failing]
        self.dataset = {self.config.test_split: datasets.Dataset.from_list(rows)}

    def doc_to_text(self, doc: Mapping[str, Any], doc_to_text: Any = None) -> str:
        """What the model is to revise, for `lm_eval_codd.models.drafts`; the task's file says what stands before it."""
        asked = {
            "context": super().doc_to_text(doc, doc_to_text),
            "draft": doc["buggy_body"],
            "rounds": ROUNDS,
            "positions": list(doc["error_positions"]),
        }
        return json.dumps(asked)


def run_rounds(responses: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """lm-eval filter: each answer becomes how its programs ended, a round each, and the confidences of its draft.

    A program is the head, without the line break that the model saw after it, and the revised body.

    Raises:
        ValueError: an answer is not that of a model that revises drafts.
    """
    answers = [[_read(answer) for answer in row] for row in responses]
    tests = {dataset: tests_of(dataset).by_task for dataset in {doc["dataset"] for doc in docs}}
    programs = {
        (doc["function_head"] + body, tests[doc["dataset"]][doc["task_id"]]): None
        for row, doc in zip(answers, docs, strict=True)
        for answer in row
        for body in answer["revised"]
    }
    # Rounds that changed nothing are run once.
    ended = dict(zip(programs, sandbox.run_programs(list(programs), timeout=TIMEOUT_SECONDS), strict=True))
    return [
        [
            {
                "ended": [
                    [outcome.status, outcome.detail]
                    for body in answer["revised"]
                    for outcome in [ended[doc["function_head"] + body, tests[doc["dataset"]][doc["task_id"]]]]
                ],
                "confidence": answer["confidence"],
            }
            for answer in row
        ]
        for row, doc in zip(answers, docs, strict=True)
    ]


def process_results(doc: Mapping[str, Any], results: list[Any]) -> dict[str, float]:
    """Whether the program passes after each round, and how well the confidences tell its corrupted tokens.

    `results` is the row's list from `run_rounds` in lm-eval 0.5, and a list with that list in it in 0.4. All answers to
    a row are alike but for drawn ones, of which the first counts.
    """
    answer = results[0][0] if isinstance(results[0], list) else results[0]
    scores = {}
    for number, (status, _) in enumerate(answer["ended"], start=1):
        scores[f"pass_at_1_t{number}"] = float(status == "passed")
        scores[f"timeout_t{number}"] = float(status == "timeout")
    return {**scores, **localisation(answer["confidence"], doc["error_positions"])}


def localisation(confidence: Sequence[float], positions: Sequence[int]) -> dict[str, float]:
    """The gap between clean and corrupted tokens, and whether a corrupted one is among the least sure.

    Args:
        confidence: of each token of a body, before anything was changed.
        positions: of its corrupted ones.
    """
    wrong = set(positions)
    clean = [value for place, value in enumerate(confidence) if place not in wrong]
    gap = statistics.fmean(clean) - statistics.fmean(confidence[place] for place in wrong) if clean else math.nan
    ascending = sorted(range(len(confidence)), key=lambda place: confidence[place])  # stable: leftmost first
    hits = {f"hit_at_{number}": float(not wrong.isdisjoint(ascending[:number])) for number in HITS}
    return {"confidence_gap": gap, **hits}


def _read(answer: str) -> dict[str, Any]:
    try:
        content = json.loads(answer)
        if len(content["revised"]) != ROUNDS:
            raise ValueError
    except (ValueError, TypeError, KeyError):
        raise ValueError(
            "the Code Revision Benchmark got an answer that is no revision; use a model of this package with "
            f"--model_args decoder=corrective,num_steps={ROUNDS + 1}"
        ) from None
    return content
