"""What to type, where the user stands, for this package's commands."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from lm_eval_codd.catalogue import CALLED_AS

__all__ = ["command", "shown_path"]


def command() -> str:
    """`./eval.sh`, `lm-eval-codd`, or `python -m lm_eval_codd` with the Python that runs: whichever works here."""
    # Set by eval.sh: its own Python is not on the user's path.
    if called_as := os.environ.get(CALLED_AS):
        return shlex.quote(called_as)
    installed = shutil.which("lm-eval-codd")
    if installed and Path(installed).parent == Path(sys.executable).parent:
        return "lm-eval-codd"
    return f"{shlex.quote(sys.executable)} -m lm_eval_codd"


def shown_path(path: Path) -> str:
    """The path for a command line: relative where it is below the current folder, quoted where it must be."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
