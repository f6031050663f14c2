"""`python -m lm_eval_codd.launch.slurm PLAN INDEX`: a task of an array without submitit."""

import sys
from pathlib import Path

from lm_eval_codd.launch.slurm.task import run_task

if __name__ == "__main__":
    try:
        folder, index = sys.argv[1:]
        sys.exit(run_task(Path(folder), int(index)))
    except ValueError as error:
        sys.exit(f"lm-eval-codd: task {' '.join(sys.argv[1:])}: {error}")
