"""Slots: where a run can execute. A GPU each, or a share of the CPU's cores."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

_QUERY: Final = ("nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader")
_QUERY_SECONDS: Final = 60
_ID: Final = re.compile(r"cpu|\d+|(?:GPU|MIG)-[\w/-]+")


@dataclass(frozen=True)
class Slot:
    """Where one run at a time executes: what it is called, the `--device` there, and the environment that holds it.

    is_spread: a checkpoint is spread over all the devices there (`device_map=auto`).
    """

    label: str
    device: str
    environment: Mapping[str, str] = field(default_factory=dict)
    hardware: str = ""
    is_spread: bool = False


def cpu_slots(at_most: int) -> str:
    """`--gpus` for small runs: a CPU slot a core, but not more than there are runs."""
    return ",".join(["cpu"] * min(_num_cores(), at_most))


def make_slots(gpus: str | None, *, of_other_machine: bool = False, gpus_per_run: int = 1) -> list[Slot]:
    """Slots for `--gpus`: ids of GPUs or `cpu`, separated by commas. None: every GPU that may be used, else the CPU.

    Args:
        gpus: what was given.
        of_other_machine: take the ids as they are, whatever this machine has.
        gpus_per_run: GPUs of a slot, over which a run's checkpoint is spread.

    Raises:
        ValueError: one line for an id that does not exist, or for GPUs on a machine without nvidia-smi.
    """
    if gpus is None:
        gpus = _default_gpus()
    names = [name.strip() for name in gpus.split(",")]
    if not all(names):
        raise ValueError(f"`--gpus {gpus}` has an empty place; separate ids with single commas, as in 0,1 or cpu,cpu")
    for name in names:
        if not _ID.fullmatch(name):
            raise ValueError(f"`--gpus {gpus}`: `{name}` is no id of a GPU; separate numbers or UUIDs by commas")
    present = {} if set(names) == {"cpu"} else _present_gpus()
    if of_other_machine:
        present = {**dict.fromkeys(names, ""), **(present or {})}
    if present is None:
        raise ValueError(f"`--gpus {gpus}`: this machine has no nvidia-smi, so no GPU can be used; use --gpus cpu")
    num_cpu_slots = names.count("cpu")
    slots: list[Slot] = []
    for name in names:
        if name == "cpu":
            slots.append(_cpu_slot(sum(slot.device == "cpu" for slot in slots), num_cpu_slots))
        elif name in present:
            slots.append(_gpu_slot(name, present[name]))
        else:
            ids = ", ".join(id_ for id_ in present if id_.isdecimal()) or "none"
            raise ValueError(f"`--gpus {gpus}`: there is no GPU {name}; this machine has {ids}")
    return slots if gpus_per_run == 1 else _joined(slots, gpus, gpus_per_run)


def _joined(slots: Sequence[Slot], gpus: str, number: int) -> list[Slot]:
    """Slots of several GPUs each, in the order given."""
    if number < 1 or any(slot.device == "cpu" for slot in slots) or len(slots) % number:
        kinds = "no GPUs" if any(slot.device == "cpu" for slot in slots) else f"{len(slots)} GPUs"
        raise ValueError(f"`--gpus_per_run {number}` with --gpus {gpus}: {kinds}; give a multiple of it in --gpus")
    joined = []
    for first in range(0, len(slots), number):
        names = ",".join(slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots[first : first + number])
        hardware = f"{number} x {slots[first].hardware}" if slots[first].hardware else ""
        joined.append(replace(_gpu_slot(names, hardware), is_spread=True))
    return joined


def _default_gpus() -> str:
    """All GPUs, or those that CUDA_VISIBLE_DEVICES leaves to this process, as a batch system sets it."""
    present = _present_gpus()
    if not present:
        return "cpu"
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return ",".join(id_ for id_ in present if id_.isdecimal())
    return "cpu" if allowed.strip() in ("", "-1") else allowed


def _present_gpus() -> dict[str, str] | None:
    """Names of the GPUs by index and by UUID; None without nvidia-smi."""
    if shutil.which(_QUERY[0]) is None:
        return None
    try:
        answer = subprocess.run(_QUERY, capture_output=True, text=True, timeout=_QUERY_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    gpus: dict[str, str] = {}
    for line in answer.splitlines():
        fields = [part.strip() for part in line.split(",", 2)]
        if len(fields) == 3:
            gpus[fields[0]] = gpus[fields[1]] = fields[2]
    return gpus


def _gpu_slot(name: str, hardware: str) -> Slot:
    # CUDA counts GPUs by speed unless told otherwise; nvidia-smi, and therefore the user, counts by bus.
    environment = {"CUDA_VISIBLE_DEVICES": name, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return Slot(f"gpu {name}", "cuda:0", environment, hardware)


def _cpu_slot(index: int, num_slots: int) -> Slot:
    cores = _num_cores()
    environment = {"CUDA_VISIBLE_DEVICES": ""}
    if "OMP_NUM_THREADS" not in os.environ:
        environment["OMP_NUM_THREADS"] = str(max(1, cores // num_slots))
    label = "cpu" if num_slots == 1 else f"cpu {index}"
    return Slot(label, "cpu", environment, f"{cores // num_slots or 1} of {cores} cores")


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
