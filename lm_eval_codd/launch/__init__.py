"""Run strings -> checked runs -> processes on slots (GPUs or the CPU) -> a folder of results each, and a table.

Imports neither torch nor lm-eval: those belong to the processes that it starts.
"""

from lm_eval_codd.launch.cli import main

__all__ = ["main"]
