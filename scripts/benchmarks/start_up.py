"""What this package costs at the start of `lm_eval`, which reads the package's start-up files every time."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from pathlib import Path
from typing import Final

PLUGIN: Final = "lm_eval_codd"


def help_milliseconds(pairs: int) -> tuple[float, float]:
    """What `lm_eval --help` takes longer with this package's start-up files than without, and what it takes without.

    Two environments borrow the packages of the running one, which are therefore the same files; one of the two has the
    start-up files as well. They are started in turn, and the median of the differences counts.

    Raises:
        ValueError: the package is not installed in the running environment, so that there are no start-up files.
    """
    home = Path(sysconfig.get_path("purelib"))
    start_files = [file for suffix in ("pth", "start") for file in home.glob(f"*{PLUGIN}*.{suffix}")]
    if not start_files:
        raise ValueError(f"{home} has no start-up file of this package; install it there first (pip install -e .)")
    with tempfile.TemporaryDirectory() as folder:
        without = _environment(Path(folder, "without"), [])
        plugged = _environment(Path(folder, "plugged"), start_files)
        for python in (without, plugged):
            _seconds(python)  # compiles what is not compiled yet
        differences, times = [], []
        for index in range(pairs):
            order = (without, plugged) if index % 2 else (plugged, without)
            took = {python: _seconds(python) for python in order}
            differences.append(took[plugged] - took[without])
            times.append(took[without])
    return 1e3 * statistics.median(differences), 1e3 * statistics.median(times)


def _environment(folder: Path, start_files: list[Path]) -> Path:
    """The Python of a new environment that has the running one's packages, and these start-up files of it."""
    venv.create(folder, symlinks=os.name != "nt")
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    site_packages = Path(paths["purelib"])
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    # Named to be read first, since the start-up files import what lies there.
    (site_packages / "!borrowed.pth").write_text("\n".join(sorted(borrowed)), encoding="utf-8")
    for file in start_files:
        (site_packages / file.name).write_bytes(file.read_bytes())
    return Path(paths["scripts"], Path(sys.executable).name)


def _seconds(python: Path) -> float:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [python, "-m", "lm_eval", "--help"]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**environment, "OMP_NUM_THREADS": "1"})
    return time.perf_counter() - start
