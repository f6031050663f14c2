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
from collections.abc import Sequence
from pathlib import Path

SITE_PACKAGES = Path(sysconfig.get_path("purelib"))


def help_milliseconds(pairs: int) -> tuple[float, float]:
    """What `lm_eval --help` takes longer with this package's start-up files than without, and what it takes without.

    Two environments borrow the packages of the running one; one of the two has the start-up files as well. They are
    started in turn, and the median of the differences counts.

    Raises:
        ValueError: the package is not installed in the running environment, so that there are no start-up files.
    """
    start_files = [file for file in SITE_PACKAGES.glob("*lm_eval_codd*.*") if file.suffix in (".pth", ".start")]
    if not start_files:
        raise ValueError(
            f"{SITE_PACKAGES} has no start-up file of this package; install it there first (pip install -e .)"
        )
    with tempfile.TemporaryDirectory() as folder:
        without, plugged = make_python(Path(folder, "without"), []), make_python(Path(folder, "plugged"), start_files)
        times = []
        for number in range(pairs + 1):
            order = (without, plugged) if number % 2 else (plugged, without)
            took = {python: _seconds(python) for python in order}
            times.append((took[plugged] - took[without], took[without]))
        # The first pair compiled what was not compiled yet.
        added, alone = zip(*times[1:], strict=True)
    return 1e3 * statistics.median(added), 1e3 * statistics.median(alone)


def make_python(folder: Path, start_files: Sequence[Path]) -> Path:
    """The Python of a new environment that has the running one's packages, and these start-up files of it."""
    venv.create(folder, symlinks=os.name != "nt")
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    # Named to be read first, since the start-up files import what lies there.
    Path(paths["purelib"], "!borrowed.pth").write_text(str(SITE_PACKAGES), encoding="utf-8")
    for file in start_files:
        Path(paths["purelib"], file.name).write_bytes(file.read_bytes())
    return Path(paths["scripts"], Path(sys.executable).name)


def _seconds(python: Path) -> float:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [python, "-m", "lm_eval", "--help"]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**environment, "OMP_NUM_THREADS": "1"})
    return time.perf_counter() - start
