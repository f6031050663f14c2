"""A plan as a plain script for sbatch, for sites without submitit and for lines of one's own."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from lm_eval_codd.launch.slurm.submit import JOB_NAME

if TYPE_CHECKING:
    from lm_eval_codd.launch.slurm.options import Cluster
    from lm_eval_codd.launch.slurm.plan import Plan

_BODY = """\
set -euo pipefail

# Modules, containers and the like go here.

{python} -m lm_eval_codd.launch.slurm {plan} "${{SLURM_ARRAY_TASK_ID:-0}}" &
task=$!

# Before its time limit: the run under way is ended with its answers journalled, and the task goes back into the queue.
requeue() {{
  kill -TERM "$task" || true
  wait "$task" || true
  scontrol requeue "${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}${{SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}}"
  exit
}}
trap requeue USR2
# scancel and preemption.
trap 'kill -TERM "$task" || true; wait "$task" || true; exit 143' TERM

wait "$task"
"""


def as_script(plan: Plan, num_tasks: int, cluster: Cluster, parallelism: int | None) -> str:
    """The text of the script.

    Args:
        plan: on the disk.
        num_tasks: of the plan.
        cluster: what each task asks for.
        parallelism: tasks that may run at a time; None for all.
    """
    at_a_time = "" if parallelism is None else f"%{parallelism}"
    options = {
        "job-name": JOB_NAME,
        **{name.replace("_", "-"): value for name, value in cluster.options.items()},
        "time": cluster.minutes,
        "array": f"0-{num_tasks - 1}{at_a_time}",
        "nodes": 1,
        "ntasks": 1,
        "output": str(plan.folder / "%A_%a.log"),
        "open-mode": "append",
        "requeue": True,
        "signal": f"B:USR2@{cluster.seconds_of_notice}",
    }
    lines = [
        f"#SBATCH --{name}" if value is True else f"#SBATCH --{name}={shlex.quote(str(value))}"
        for name, value in options.items()
    ]
    body = _BODY.format(python=shlex.quote(sys.executable), plan=shlex.quote(str(plan.folder)))
    return "\n".join(["#!/usr/bin/env bash", *lines, body])
