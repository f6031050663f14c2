"""Slots: where a run can execute. A GPU each, or a share of the CPU's cores."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Final, NamedTuple

_QUERY: Final = ("nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader")
# The only one that names the parts of a GPU that is divided.
_LIST: Final = ("nvidia-smi", "-L")
_QUERY_SECONDS: Final = 60
_ID: Final = re.compile(r"cpu|\d+|(?:GPU|MIG)-[\w/-]+")
_PART: Final = re.compile(r"\s+MIG (\S+).*\(UUID: (MIG-[^)]+)\)")
# What CUDA, and Slurm for a task without GPUs, write in place of an id; CUDA reads nothing behind it.
_NO_GPU: Final = ("", "-1", "NoDevFiles")


class _Gpu(NamedTuple):
    uuid: str
    name: str


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
        gpus: what was given. A GPU that stands there twice has two runs at a time.
        of_other_machine: take the ids as they are, whatever this machine has.
        gpus_per_run: GPUs of a slot, over which a run's checkpoint is spread.

    Raises:
        ValueError: one line for an id that does not exist, or for GPUs on a machine without nvidia-smi.
    """
    gpus, given = _default_gpus() if gpus is None else (gpus, f"`--gpus {gpus}`")
    names = [name.strip() for name in gpus.split(",")]
    if not all(names):
        raise ValueError(f"{given} has an empty place; separate ids with single commas, as in 0,1 or cpu,cpu")
    for name in names:
        if not _ID.fullmatch(name):
            raise ValueError(f"{given}: `{name}` is no id of a GPU; separate numbers or UUIDs by commas")
    present = {} if set(names) == {"cpu"} else _present_gpus()
    if present and "MIG-" in gpus + os.environ.get("CUDA_VISIBLE_DEVICES", ""):
        present |= _present_parts()
    if of_other_machine:
        present = {**{name: _Gpu(name, "") for name in names}, **(present or {})}
    if present is None:
        raise ValueError(f"{given}: this machine has no nvidia-smi, so no GPU can be used; use --gpus cpu")
    gpus_of_names = [None if name == "cpu" else _find(name, present, given) for name in names]
    if not of_other_machine:
        _check_allowed(names, gpus_of_names, present, given)
    if gpus_per_run != 1:
        return _joined(names, gpus_of_names, gpus, gpus_per_run)
    slots: list[Slot] = []
    for place, (name, gpu) in enumerate(zip(names, gpus_of_names, strict=True)):
        before = gpus_of_names[:place].count(gpu)
        slots.append(_cpu_slot(before, names.count("cpu")) if gpu is None else _gpu_slot(name, gpu.name, before))
    return slots


def _find(name: str, present: Mapping[str, _Gpu], given: str) -> _Gpu:
    """The GPU of an id: an index, a UUID, or the beginning of one, as CUDA takes them."""
    meant = _meant(name, present)
    if len(meant) == 1:
        return meant.pop()
    ids = ", ".join(id_ for id_ in present if id_.isdecimal() or id_.startswith("MIG-")) or "none"
    what = f"{len(meant)} GPUs begin with {name}" if meant else f"there is no GPU {name}"
    raise ValueError(f"{given}: {what}; this machine has {ids}")


def _meant(name: str, present: Mapping[str, _Gpu]) -> set[_Gpu]:
    if name in present:
        return {present[name]}
    return {gpu for id_, gpu in present.items() if id_.startswith(name)} if name.startswith("GPU-") else set()


def _check_allowed(names: Sequence[str], found: Sequence[_Gpu | None], present: Mapping[str, _Gpu], given: str) -> None:
    """Raise `ValueError` for a GPU that CUDA_VISIBLE_DEVICES does not leave to this process: it is somebody else's.

    Where it names some, and none that is known here, it counts otherwise than nvidia-smi, and says nothing.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return
    named = _read_by_cuda(visible)
    allowed = {gpu for name in named for gpu in _meant(name, present)}
    for name, gpu in zip(names, found, strict=True):
        if gpu is not None and gpu not in allowed and (allowed or not named):
            raise ValueError(
                f"{given}: GPU {name} is none of CUDA_VISIBLE_DEVICES={visible}; ids are nvidia-smi's, so give some of "
                "these, or unset the variable"
            )


def _joined(names: Sequence[str], found: Sequence[_Gpu | None], gpus: str, number: int) -> list[Slot]:
    """Slots of several GPUs each, in the order given."""
    told = f"`--gpus_per_run {number}` with --gpus {gpus}"
    if number < 1 or None in found or len(found) % number:
        kinds = "no GPUs" if None in found else f"{len(found)} GPUs"
        raise ValueError(f"{told}: {kinds}; give a multiple of it in --gpus")
    slots = []
    for first in range(0, len(found), number):
        one = [gpu for gpu in found[first : first + number] if gpu is not None]
        if len(set(one)) < number:
            raise ValueError(f"{told}: a GPU twice in one slot; give each slot GPUs of its own")
        if any(gpu.uuid.startswith("MIG-") for gpu in one):
            raise ValueError(f"{told}: CUDA gives a process one part (MIG) of a GPU; leave --gpus_per_run out")
        hardware = f"{number} x {one[0].name}" if one[0].name else ""
        slots.append(replace(_gpu_slot(",".join(names[first : first + number]), hardware), is_spread=True))
    return slots


def _default_gpus() -> tuple[str, str]:
    """All GPUs, or those that CUDA_VISIBLE_DEVICES leaves, as a batch system sets it; and who says so."""
    present = _present_gpus()
    if not present:
        return "cpu", "`--gpus cpu`"
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        gpus = ",".join(id_ for id_ in present if id_.isdecimal())
        return gpus, f"`--gpus {gpus}`"
    return ",".join(_read_by_cuda(allowed)) or "cpu", f"`CUDA_VISIBLE_DEVICES={allowed}`"


def _read_by_cuda(visible: str) -> list[str]:
    """The ids in CUDA_VISIBLE_DEVICES, up to the first that is none."""
    return list(takewhile(lambda name: name not in _NO_GPU, (name.strip() for name in visible.split(","))))


def _present_gpus() -> dict[str, _Gpu] | None:
    """The GPUs by index and by UUID; None without nvidia-smi."""
    if shutil.which(_QUERY[0]) is None:
        return None
    gpus: dict[str, _Gpu] = {}
    for line in _asked(_QUERY):
        fields = [part.strip() for part in line.split(",", 2)]
        if len(fields) == 3:
            gpus[fields[0]] = gpus[fields[1]] = _Gpu(fields[1], fields[2])
    return gpus


def _present_parts() -> dict[str, _Gpu]:
    """The parts (MIG) of GPUs that are divided, by UUID."""
    found = filter(None, map(_PART.match, _asked(_LIST)))
    return {part[2]: _Gpu(part[2], f"MIG {part[1]}") for part in found}


def _asked(query: Sequence[str]) -> list[str]:
    """The lines that nvidia-smi answers; none where it fails."""
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=_QUERY_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return answer.splitlines()


def _gpu_slot(name: str, hardware: str, before: int = 0) -> Slot:
    """The slot of a GPU, which so many others share that came before."""
    # CUDA counts GPUs by speed unless told otherwise; nvidia-smi, and therefore the user, counts by bus.
    environment = {"CUDA_VISIBLE_DEVICES": name, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return Slot(f"gpu {name}{f' again ({before + 1})' if before else ''}", "cuda:0", environment, hardware)


def _cpu_slot(index: int, num_slots: int) -> Slot:
    cores = _num_cores()
    environment = {"CUDA_VISIBLE_DEVICES": ""}
    if "OMP_NUM_THREADS" not in os.environ:
        environment["OMP_NUM_THREADS"] = str(max(1, cores // num_slots))
    label = "cpu" if num_slots == 1 else f"cpu {index}"
    return Slot(label, "cpu", environment, f"{cores // num_slots or 1} of {cores} cores")


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
