"""`python timed_run.py FOLDER ...`: lm-eval on `...`, and in FOLDER how long the evaluation itself took.

That is requests, answers, exchange between ranks and scores; not imports, the checkpoint and the description of the
machine, which only one of two ranks asks for.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.stopwatch import Stopwatch
from lm_eval_codd.commands import harness


def main() -> None:
    """Run lm-eval on the rest of the command line."""
    from lm_eval import evaluator

    folder, *arguments = sys.argv[1:]
    watch = Stopwatch()
    with watch.running():
        watch.watch("evaluation", evaluator, "evaluate")
        harness.run(arguments)
    Path(folder, f"seconds_{os.getpid()}").write_text(str(watch.seconds["evaluation"]), encoding="utf-8")


if __name__ == "__main__":
    main()
