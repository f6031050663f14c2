"""`--slurm 'partition=gpu gpus_per_node=1 time=04:00:00'`: what each task of the array asks of the cluster."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lm_eval_codd.names import unknown_name

# Options of sbatch by their long names, with _ for -.
_OPTIONS: Final = (
    *("account", "clusters", "comment", "constraint", "cpus_per_gpu", "cpus_per_task", "exclude", "exclusive", "gpus"),
    *("gpus_per_node", "gpus_per_task", "gres", "job_name", "licenses", "mail_type", "mail_user", "mem", "mem_per_cpu"),
    *("mem_per_gpu", "nice", "nodelist", "partition", "qos", "reservation", "time", "tmp", "wckey"),
)
_WITHOUT_VALUE: Final = ("exclusive",)
# Those that follow from what a task is.
_OURS: Final = {
    "array": "--array_parallelism says how many tasks run at a time",
    "error": "logs are in OUTPUT_DIR/.slurm",
    "output": "logs are in OUTPUT_DIR/.slurm",
    "open_mode": "logs are appended to",
    "nodes": "a task is one process on one node",
    "ntasks": "a task is one process on one node",
    "ntasks_per_node": "a task is one process on one node",
    "requeue": "tasks are always requeued",
    "signal": "tasks are told of their time limit in any case",
}
_GPUS: Final = ("gpus", "gpus_per_node", "gpus_per_task", "mem_per_gpu", "cpus_per_gpu")
# Days, hours, minutes and seconds, as sbatch writes a time: 90, 90:00, 1:30:00, 1-12, 1-12:30, 1-12:30:00.
_TIME: Final = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
_LONGEST_NOTICE: Final = 120
_SHORTEST_NOTICE: Final = 10


@dataclass(frozen=True)
class Cluster:
    """What a task of the array asks for.

    Attributes:
        options: of sbatch, by their long names with `_` for `-`, the time left out; True for one without a value.
        minutes: that a task may take before it is requeued.
    """

    options: Mapping[str, str | bool]
    minutes: int

    @property
    def has_gpus(self) -> bool:
        """Whether the tasks ask for GPUs; without them they use none that happens to be in sight."""
        asked = any(str(self.options[name]) != "0" for name in _GPUS if name in self.options)
        return asked or "gpu" in str(self.options.get("gres", ""))

    @property
    def seconds_of_notice(self) -> int:
        """How long before its time limit a task is told, to end what it runs and go back into the queue."""
        return max(_SHORTEST_NOTICE, min(_LONGEST_NOTICE, self.minutes * 60 // 6))


def parse_cluster(text: str) -> Cluster:
    """What `--slurm` says; raises `ValueError`, one line, for a word that is no option, or not the user's to set."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"`--slurm {text}`: {str(error).lower()}") from None
    options: dict[str, str | bool] = {}
    for word in words:
        written, has_value, value = word.partition("=")
        name = written.removeprefix("--").replace("-", "_")
        if name in _OURS:
            raise ValueError(f"`--slurm {name}`: {_OURS[name]}; leave it out")
        if name not in _OPTIONS:
            raise ValueError(f"--slurm: {unknown_name(name, _OPTIONS, kind='option of sbatch')}")
        if name in options:
            raise ValueError(f"`--slurm {name}` is given twice; leave one out")
        if bool(has_value and value) is (name in _WITHOUT_VALUE):
            shape = name if name in _WITHOUT_VALUE else f"{name}=VALUE"
            raise ValueError(f"`--slurm {word}` must be {shape}; separate several by spaces")
        options[name] = value if has_value else True
    if "time" not in options:
        raise ValueError("`--slurm` needs time=, such as time=04:00:00: what a task may take before it is requeued")
    return Cluster({name: value for name, value in options.items() if name != "time"}, _minutes(str(options["time"])))


def _minutes(text: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"`--slurm time={text}` must be a time as sbatch writes it: 240, 04:00:00 or 1-12:00:00")
    days, *clock = [None if part is None else int(part) for part in found.groups()]
    numbers = [part for part in clock if part is not None]
    if days is not None:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
        total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    elif len(numbers) == 3:
        total = (numbers[0] * 60 + numbers[1]) * 60 + numbers[2]
    else:
        total = numbers[0] * 60 + (numbers[1] if len(numbers) == 2 else 0)
    if not total:
        raise ValueError(f"`--slurm time={text}` must be above 0; it is what a task may take before it is requeued")
    return -(-total // 60)
