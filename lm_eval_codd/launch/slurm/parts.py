"""What a task of the array executes: whole runs, and shards, which are slices of a run's documents.

A shard is a run of its own over a slice, in a folder below the run's, that writes its answers into the run's journal.
When all shards are finished, the run itself finds every answer there: its results are those of a run that was never
split, made by the same code.
"""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from lm_eval_codd.catalogue import STOCK_GROUPS
from lm_eval_codd.launch.execute import Job
from lm_eval_codd.runs import record
from lm_eval_codd.runs.identity import from_identity

# What is left of a run whose answers are all journalled: loading, and scoring.
_WEIGHT_OF_MERGING: Final = 0.02
_SHARDS: Final = "shards"


class Part(NamedTuple):
    """A run as a whole, or its shard `number` of `of`, counted from 1."""

    job: Job
    number: int = 1
    of: int = 1

    @property
    def work(self) -> Job:
        """What is executed: the run, or the slice."""
        if self.of == 1:
            return self.job
        first, last = _documents(self.job)
        bounds = [first + (last - first) * part // self.of for part in (self.number - 1, self.number)]
        name = f"{self.number}-of-{self.of}"
        return dataclasses.replace(
            self.job,
            run=dataclasses.replace(self.job.run, samples=(bounds[0], bounds[1]), limit=None),
            name=f"{self.job.name}/{_SHARDS}/{name}",
            folder=self.job.folder / _SHARDS / name,
            journal=self.job.journal_folder,
            label=f"{self.job} [{self.number}/{self.of}]",
        )

    def as_data(self) -> dict[str, Any]:
        """As plain data, for a plan."""
        return {
            "name": self.job.name,
            "label": self.job.label,
            "run": self.job.run.identity(),
            "unsafe": self.job.run.confirm_run_unsafe_code,
            "revisions": dict(self.job.revisions),
            "published": {cell: dict(assumed) for cell, assumed in self.job.published.items()},
            "part": [self.number, self.of],
        }


def part_of(data: Mapping[str, Any], output_dir: os.PathLike) -> Part:
    """`as_data` turned back, for runs in `output_dir`."""
    run = dataclasses.replace(from_identity(data["run"]), confirm_run_unsafe_code=data["unsafe"])
    folder = output_dir / data["name"]
    published = data.get("published", {})
    job = Job(run, data["name"], folder, data["revisions"], label=data["label"], published=published)
    return Part(job, *data["part"])


def split(jobs: Sequence[Job], shards: int) -> list[Part]:
    """The parts of each job that are not finished; all of a run whose shards are through is its end, in one part.

    Raises:
        ValueError: one line: the size of a task is not known, so it has no slices.
    """
    parts: list[Part] = []
    for job in jobs:
        number = min(shards, job.run.num_rows or 1)
        if shards > 1 and job.run.task in STOCK_GROUPS:
            raise ValueError(
                f"`--shards {shards}`: {job.run.short_task} is a group of tasks, each with documents of its own, so it "
                "cannot be split; leave --shards out, or give its tasks"
            )
        if shards > 1 and job.run.num_rows is None:
            raise ValueError(
                f"`--shards {shards}`: the size of {job.run.short_task} is not known, so it cannot be split; give "
                "--limit, or leave --shards out"
            )
        all_parts = [Part(job, index, number) for index in range(1, number + 1)]
        waiting = [part for part in all_parts if number == 1 or not is_finished(part.work)]
        parts += waiting or [Part(job)]
    return parts


def is_finished(job: Job) -> bool:
    """Whether this very run is in its folder with its results."""
    return record.finished(job.folder, job.run) is not None


def to_merge(parts: Sequence[Part], claimant: str) -> list[Job]:
    """Of the runs whose shards are among the parts, those that are to be ended here: all their shards are through.

    Whoever ends its shard last sees all of them finished. Two that end at once may both see that, and a file says which
    of them goes on; should it die, the same command does.

    Args:
        parts: that the caller has executed.
        claimant: who that is; the same after a requeue.
    """
    return [job for job in _split_jobs(parts) if _claims(job, parts, claimant)]


def merging(job: Job) -> Job:
    """The run's end as a job, with the work that is left of it."""
    return dataclasses.replace(job, weight=_WEIGHT_OF_MERGING)


def of_run(name: str) -> str:
    """The name of the run that a job by this name belongs to."""
    return name.partition(f"/{_SHARDS}/")[0]


def set_aside(job: Job) -> None:
    """Put away what the run's folder holds, so that it starts from nothing."""
    for name in (job.journal_folder, job.folder / _SHARDS, job.folder / record.FILE):
        record.set_aside(name)


def _split_jobs(parts: Sequence[Part]) -> list[Job]:
    return list({part.job.name: part.job for part in parts if part.of > 1}.values())


def _claims(job: Job, parts: Sequence[Part], claimant: str) -> bool:
    of = next(part.of for part in parts if part.job.name == job.name)
    if not all(is_finished(Part(job, number, of).work) for number in range(1, of + 1)):
        return False
    path = job.folder / _SHARDS / f"merged-by-{claimant.partition(' ')[0]}"
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
        return path.read_text(encoding="utf-8") == claimant
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(claimant)
    return True


def _documents(job: Job) -> tuple[int, int]:
    run = job.run
    return run.samples or (0, run.num_rows or 0)
