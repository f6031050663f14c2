"""A task of the array, on its node: its runs one after another, or on the GPUs of its allocation side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval_codd.launch.devices import Slot, make_slots
from lm_eval_codd.launch.schedule import StopRequest, run_all
from lm_eval_codd.launch.slurm import plan as plans
from lm_eval_codd.launch.slurm.events import Reporter
from lm_eval_codd.launch.slurm.parts import merging, to_merge

if TYPE_CHECKING:
    from lm_eval_codd.launch.execute import Job, Outcome

DONE, FAILED, STOPPED = 0, 1, 143


class Task:
    """What submitit pickles: two words. Its state is the journals of its runs.

    Args:
        plan: the folder of the plan.
        index: of the task in it.
    """

    def __init__(self, plan: str, index: int) -> None:
        self.plan = plan
        self.index = index

    def __call__(self) -> str:
        """Execute the task; a task with a failed run ends in a status that Slurm calls FAILED."""
        status = run_task(Path(self.plan), self.index)
        if status:
            raise SystemExit(status)
        return "finished"

    def checkpoint(self) -> Any:
        """The task to go on with after a requeue: the same one. submitit then ends this process, and what it runs."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Task(self.plan, self.index))

    # The documented name. submitit 1.5 calls it, but asks only for the other one when it decides whether to requeue.
    __submitit_checkpoint__ = checkpoint


def run_task(folder: Path, index: int) -> int:
    """Execute a task of a plan; returns the exit status.

    What is finished already is not done again, so that a task can be started any number of times. SIGTERM, which
    scancel and preemption send, ends it with everything journalled that is answered.
    """
    plan = plans.read(folder)
    if plan.job is None and (job := os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID")):
        plan.note_job(job)
    # Everything was fetched before the array was submitted, and compute nodes may see no network.
    os.environ["HF_HUB_OFFLINE"] = "1"
    parts = plan.task(index)
    about = plan.about
    slots = _slots(about)
    outcomes: dict[str, Outcome] = {}
    with StopRequest().listening() as stop, Reporter(plan.events(index)) as reporter:

        def execute(jobs: Sequence[Job]) -> None:
            outcomes.update(run_all(jobs, slots, reporter, stop, about.runner, stall_limit=about.stall_limit))

        execute([part.work for part in parts])
        if not stop:
            execute([merging(job) for job in to_merge(parts, f"{plan.name} {index}")])
    statuses = {outcome.status for outcome in outcomes.values()}
    if stop or statuses & {"interrupted", "preempted"}:
        return STOPPED
    return FAILED if "failed" in statuses else DONE


def _slots(about: plans.About) -> list[Slot]:
    slots = make_slots(None if about.has_gpus else "cpu", gpus_per_run=about.gpus_per_run)
    if about.has_gpus and any(slot.device == "cpu" for slot in slots):
        raise ValueError(
            "the task asked for GPUs and sees none; is nvidia-smi on the nodes, and the partition of --slurm right?"
        )
    return slots
