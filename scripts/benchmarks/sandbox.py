"""What a generated program costs: in the sandbox with all its layers, and in a bare interpreter of its own."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.arguments import whole
from benchmarks.table import Row, say
from lm_eval_codd import sandbox
from lm_eval_codd.catalogue import DATA_DIR

_STAND_IN = ("def double(x):\n    return 2 * x", "assert double(2) == 4\nassert double(-1) == -2")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument(
        "--programs",
        type=whole(1),
        default=500,
        help=f"how many: MBPP's reference programs where {DATA_DIR} has them, else one that is made up",
    )
    parser.add_argument("--workers", type=whole(1), default=2, help="programs at once")


def run(arguments: argparse.Namespace) -> list[Row]:
    """All programs in the sandbox, a tenth of them in bare interpreters."""
    programs = _programs(arguments.programs)
    layers = sandbox.isolation()
    missing = [name for name, means in layers.items() if means.startswith("none")]
    say(f"{len(programs)} programs in the sandbox")
    started = time.perf_counter()
    outcomes = sandbox.run_programs(programs, workers=arguments.workers)
    confined = time.perf_counter() - started
    few = programs[: max(1, len(programs) // 10)]
    say(f"{len(few)} programs in interpreters of their own")
    started = time.perf_counter()
    for code, tests in few:
        subprocess.run([sys.executable, "-s", "-B", "-c", f"{code}\n{tests}"], capture_output=True, timeout=60)
    bare = (time.perf_counter() - started) / arguments.workers
    goal = "<= 60" if len(programs) == 500 and arguments.workers == 2 else ""
    return [
        Row("sandbox.seconds", confined, "s", goal, f"missing layers: {', '.join(missing) or 'none'}"),
        Row("sandbox.passed", float(sum(outcome.passed for outcome in outcomes)), "programs"),
        Row("sandbox.milliseconds_per_program", 1e3 * confined / len(programs), "ms", "", "workers side by side"),
        Row("sandbox.ratio_to_bare", confined / len(programs) / (bare / len(few)), "x", "", "as if as many at once"),
    ]


def _programs(number: int) -> list[tuple[str, str]]:
    path = Path(os.environ.get(DATA_DIR, ""), "mbpp", "test.jsonl")
    if DATA_DIR not in os.environ or not path.is_file():
        return [(_STAND_IN[0], f"{_STAND_IN[1]}\n# {count}") for count in range(number)]
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:number]]
    return [(row["code"], "\n".join([row["test_setup_code"], *row["test_list"]])) for row in rows]
