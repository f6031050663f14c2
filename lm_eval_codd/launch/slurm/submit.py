"""A plan becomes one job array, through submitit."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.launch.slurm.task import Task

if TYPE_CHECKING:
    from lm_eval_codd.launch.slurm.options import Cluster
    from lm_eval_codd.launch.slurm.plan import Plan

INSTALL: Final = "pip install 'lm-eval-codd[slurm]'"
JOB_NAME: Final = "lm-eval-codd"
# Time limits that a task may meet; submitit's own 3 would end a sweep of days in the middle.
_MOST_TIMEOUTS: Final = 10_000
# What submitit calls by these names is an argument of its own; other options of sbatch pass through it.
_BY_SUBMITIT: Final = (
    *("account", "comment", "constraint", "cpus_per_gpu", "cpus_per_task", "exclude", "exclusive", "gpus_per_node"),
    *("gpus_per_task", "gres", "job_name", "mem", "mem_per_cpu", "mem_per_gpu", "partition", "qos"),
)
# Of an allocation that the launcher itself runs in; a job's own srun would take them for its options.
_INHERITED: Final = ("SLURM_", "SUBMITIT_")
_KEPT: Final = ("SLURM_CONF",)

MakeExecutor = Callable[[Path, int], Any]


def make_executor(folder: Path, most_timeouts: int) -> Any:
    """The executor of submitit for Slurm.

    Raises:
        ValueError: one line: submitit is not installed, or this is no machine of a cluster.
    """
    try:
        import submitit
    except ImportError:
        raise ValueError(f"`--slurm` needs submitit 1.5 or newer; {INSTALL}") from None
    try:
        return submitit.SlurmExecutor(folder, max_num_timeout=most_timeouts)
    except RuntimeError:
        raise ValueError(
            "`--slurm`: there is no srun on this machine; start it on a login node, or write a script (--print_sbatch)"
        ) from None


def submit(
    plan: Plan,
    num_tasks: int,
    cluster: Cluster,
    parallelism: int | None,
    executor_for: MakeExecutor = make_executor,
) -> str:
    """Submit the tasks of a plan as one array; returns its number in Slurm.

    Args:
        plan: on the disk.
        num_tasks: of the plan.
        cluster: what each task asks for.
        parallelism: tasks that may run at a time; None for all.
        executor_for: from a folder and how many time limits a task may meet to what submits.

    Raises:
        ValueError: one line: what Slurm says against it.
    """
    executor = executor_for(plan.folder / "submitit", _MOST_TIMEOUTS)
    executor.update_parameters(**parameters(cluster, parallelism or num_tasks))
    with _outside_of_any_allocation():
        try:
            jobs = executor.submit_array([Task(str(plan.folder), index) for index in range(num_tasks)])
        except Exception as error:
            # submitit raises the whole output of sbatch.
            said = [line for line in str(error).splitlines() if line.startswith("sbatch: error:")] or [str(error)]
            raise ValueError(f"Slurm takes no such array: {' '.join(said)}") from None
    job = str(jobs[0].job_id).partition("_")[0]
    plan.note_job(job)
    return job


def parameters(cluster: Cluster, parallelism: int) -> Mapping[str, Any]:
    """The arguments of submitit's executor."""
    own = {name: value for name, value in cluster.options.items() if name in _BY_SUBMITIT}
    others = {name: value for name, value in cluster.options.items() if name not in _BY_SUBMITIT}
    return {
        "job_name": JOB_NAME,
        **own,
        "time": cluster.minutes,
        "signal_delay_s": cluster.seconds_of_notice,
        "array_parallelism": parallelism,
        "stderr_to_stdout": True,
        "additional_parameters": {**others, "requeue": True},
    }


@contextlib.contextmanager
def _outside_of_any_allocation() -> Iterator[None]:
    inherited = {
        name: os.environ.pop(name) for name in list(os.environ) if name.startswith(_INHERITED) and name not in _KEPT
    }
    try:
        yield
    finally:
        os.environ.update(inherited)
