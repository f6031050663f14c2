"""From run strings to jobs: every run checked, named and given a folder, before the first one starts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.launch import record
from lm_eval_codd.launch.errors import NotStarted
from lm_eval_codd.launch.naming import run_name
from lm_eval_codd.launch.runs import Run, parse_run

DEMO_STEPS: Final = (2, 4, 8, 16, 32)
# The demo's answers are one block of 32 tokens; its float16 file is computed in float32, which any machine can.
_DEMO_RUN: Final = (
    "--model_alias llada --llada_ckpt demo --task demo --num_steps {steps} "
    "--gen_length 32 --block_length 32 --dtype float32 --batch_size 50"
)


@dataclass(frozen=True)
class Selection:
    """The runs by name in the order given, those of them that are finished, and remarks for the user."""

    runs: Mapping[str, Run]
    finished: frozenset[str]
    remarks: tuple[str, ...]


def demo_runs() -> list[str]:
    """The demo as run strings: the demo checkpoint at several step counts."""
    return [_DEMO_RUN.format(steps=steps) for steps in DEMO_STEPS]


def select(texts: Iterable[str], output_dir: Path, defaults: Mapping[str, Any], *, force: bool = False) -> Selection:
    """Check all runs; merge those that are the same, and set those aside that are finished (unless `force`).

    Raises:
        NotStarted: any run is impossible, with a line for each.
    """
    runs: dict[str, Run] = {}
    numbers: dict[str, int] = {}
    errors, remarks, finished = [], [], set()
    for number, text in enumerate(texts, start=1):
        try:
            run = parse_run(text, defaults)
        except ValueError as error:
            errors.append(f"run {number}: {error}  [--run '{text}']")
            continue
        name = run_name(run)
        folder = output_dir / name
        if name in runs:
            remarks.append(f"run {number} is the same as run {numbers[name]} and is not repeated: {name}")
        elif record.is_other_run(folder, run):
            errors.append(
                f"run {number}: {folder} holds a run with other settings; remove it, or give this one a --tag"
            )
        else:
            runs[name], numbers[name] = run, number
            if not force and (done := record.finished(folder, run)):
                finished.add(name)
                remarks.append(f"skipped  {name}: finished already ({done['ended']}); --force runs it again")
    if errors:
        raise NotStarted(errors)
    return Selection(runs, frozenset(finished), tuple(remarks))


def prepare_folder(output_dir: Path) -> None:
    """Make the output folder and write to it once; raises `NotStarted` when that is impossible."""
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=output_dir, prefix=".writable."):
            pass
    except OSError as error:
        raise NotStarted([f"`--output_dir {output_dir}` cannot be written: {error.strerror}"]) from None
