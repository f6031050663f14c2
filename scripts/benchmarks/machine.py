"""What figures were measured on: processor, threads, versions, and a GPU with its clocks."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.code_version import code_version

_PACKAGES: Final = ("torch", "transformers", "lm_eval")
_GPU_FIELDS: Final = (
    "name",
    "driver_version",
    "clocks.sm",
    "clocks.max.sm",
    "clocks.mem",
    "clocks_throttle_reasons.active",
    "power.limit",
    "temperature.gpu",
)


def machine() -> dict[str, Any]:
    """Facts for the JSON. GPUs are asked of nvidia-smi at this moment, so right after the measurement."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": _threads(),
        "code": code_version(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **{name: _version(name) for name in _PACKAGES},
        "gpus": _gpus(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _threads() -> int | None:
    """Threads of one tensor operation; None where torch was not used."""
    torch = sys.modules.get("torch")
    return None if torch is None else torch.get_num_threads()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _gpus() -> list[dict[str, str]]:
    if shutil.which("nvidia-smi") is None:
        return []
    asked = ["nvidia-smi", f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True)
    if done.returncode:
        return []
    return [dict(zip(_GPU_FIELDS, line.split(", "), strict=False)) for line in done.stdout.splitlines()]
