"""A plan: which task of the array executes which runs. A folder below OUTPUT_DIR/.slurm, which every node can read.

plan.jsonl        what holds for all tasks, then a line a task
job               the number that Slurm gave the array
events-N.jsonl    what task N does, written by it alone: no lock is needed, and none is trusted across nodes
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import json
import math
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.launch.slurm.parts import Part, part_of

FOLDER: Final = ".slurm"
_PLAN: Final = "plan.jsonl"
_JOB: Final = "job"


@dataclass(frozen=True)
class About:
    """What holds for all tasks of a plan.

    Attributes:
        runner: the command that executes a run.
        has_gpus: whether tasks run on the GPUs of their allocation; else on its cores.
        gpus_per_run: GPUs that a run is spread over.
        stall_limit: seconds without a sign of life, after which a run is ended.
    """

    runner: tuple[str, ...]
    has_gpus: bool = False
    gpus_per_run: int = 1
    stall_limit: float = math.inf


@dataclass(frozen=True)
class Plan:
    """A plan on the disk: its folder, and what holds for all tasks."""

    folder: Path
    about: About

    @property
    def name(self) -> str:
        """Different for every plan."""
        return self.folder.name

    @property
    def output_dir(self) -> Path:
        """Where every run has its folder."""
        return self.folder.parent.parent

    @property
    def job(self) -> str | None:
        """The array's number in Slurm; None before it has one."""
        try:
            return (self.folder / _JOB).read_text(encoding="utf-8").strip() or None
        except OSError:
            return None

    def note_job(self, job: str) -> None:
        """Write the array's number down, whole or not at all."""
        new = self.folder / f".{_JOB}.{secrets.token_hex(4)}"
        new.write_text(f"{job}\n", encoding="utf-8")
        new.replace(self.folder / _JOB)

    def events(self, index: int) -> Path:
        """The file in which a task says what it does."""
        return self.folder / f"events-{index}.jsonl"

    def task(self, index: int) -> list[Part]:
        """What a task executes; only its own line is decoded."""
        with (self.folder / _PLAN).open(encoding="utf-8") as file:
            line = next(itertools.islice(file, index + 1, None), None)
        if line is None:
            raise ValueError(f"{self.folder / _PLAN} has no task {index}")
        return self._parts(line)

    def tasks(self) -> list[list[Part]]:
        """What every task executes."""
        with (self.folder / _PLAN).open(encoding="utf-8") as file:
            return [self._parts(line) for line in itertools.islice(file, 1, None)]

    def _parts(self, line: str) -> list[Part]:
        return [part_of(data, self.output_dir) for data in json.loads(line)]


def pack(parts: Sequence[Part], per_task: int) -> list[list[Part]]:
    """The parts in tasks of `per_task` at most, none much longer than another; the longest tasks first."""
    number = -(-len(parts) // per_task)
    tasks: list[list[Part]] = [[] for _ in range(number)]
    costs = [0.0] * number
    shortest = [(0.0, index) for index in range(number)]
    costed = sorted(
        ((part.work.run.cost, place) for place, part in enumerate(parts)), key=lambda one: (-one[0], one[1])
    )
    for cost, place in costed:
        _, index = heapq.heappop(shortest)
        tasks[index].append(parts[place])
        costs[index] += cost
        if len(tasks[index]) < per_task:
            heapq.heappush(shortest, (costs[index], index))
    order = sorted(range(number), key=lambda index: -costs[index])
    return [tasks[index] for index in order]


def write(output_dir: Path, tasks: Sequence[Sequence[Part]], about: About) -> Plan:
    """Make the folder of a plan. Raises `ValueError`, one line, where it cannot be written."""
    folder = output_dir / FOLDER / f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(3)}"
    try:
        folder.mkdir(parents=True)
        with (folder / _PLAN).open("x", encoding="utf-8") as file:
            for line in (dataclasses.asdict(about), *([part.as_data() for part in task] for task in tasks)):
                file.write(json.dumps(line, separators=(",", ":")) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ValueError(f"`{folder}` cannot be written: {error.strerror}") from None
    return Plan(folder, about)


def read(folder: Path) -> Plan:
    """The plan in a folder. Raises `ValueError`, one line, where there is none."""
    try:
        with (folder / _PLAN).open(encoding="utf-8") as file:
            said: dict[str, Any] = json.loads(file.readline())
        return Plan(folder, About(**{**said, "runner": tuple(said["runner"])}))
    except OSError as error:
        raise ValueError(f"{folder / _PLAN} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{folder / _PLAN} is no plan of an array") from None


def read_all(output_dir: Path) -> list[Plan]:
    """The plans of an output folder that have a number in Slurm, the oldest first; what is damaged is passed over."""
    plans = []
    for folder in sorted((output_dir / FOLDER).glob("*/")):
        try:
            plan = read(folder)
        except ValueError:
            continue
        if plan.job is not None:
            plans.append(plan)
    return plans
