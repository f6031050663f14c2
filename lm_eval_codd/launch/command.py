"""The child process that executes a run: lm-eval's own command line, with the project's models and tasks."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.registration import tasks_dir
from lm_eval_codd.runs.checkpoints import split_revision
from lm_eval_codd.runs.naming import number

if TYPE_CHECKING:
    from lm_eval_codd.runs.run import Run

RUNNER: Final = (sys.executable, "-m", "lm_eval_codd", "run")

_NONE: Final[Mapping[str, str]] = {}

# Where a run writes down every answer as it is made, inside of its folder.
JOURNAL: Final = "journal"


def model_args(run: Run, revisions: Mapping[str, str] = _NONE) -> dict[str, Any]:
    """Arguments of the model: where its parts come from, and what the run says of it.

    Hub ids go with the commit that was fetched, else with the revision that they are pinned to.
    """
    args: dict[str, Any] = {}
    for name, source in run.sources.items():
        args[name], pinned = split_revision(source)
        if name != "tokenizer" and (revision := revisions.get(source, pinned)):
            args["revision" if name == "pretrained" else f"{name}_revision"] = revision
    return args | run.arguments()


def build_command(
    run: Run,
    folder: Path,
    device: str,
    runner: tuple[str, ...] = RUNNER,
    revisions: Mapping[str, str] = _NONE,
    *,
    journal: Path | None = None,
    is_spread: bool = False,
) -> list[str]:
    """The command line of a run that writes `results_*.json` and `samples_*.jsonl` into `folder`.

    Model arguments travel as one JSON object, which lm-eval takes in place of `key=value` pairs: commas, spaces, `=`
    and numbers that are really words survive only there.

    Args:
        run: what to evaluate.
        folder: of the run.
        device: as lm-eval's `--device`.
        runner: the command that executes a run.
        revisions: the commits that hub ids stood for when they were fetched, by the run's own spelling of them.
        journal: the folder of its answers; None for the one in `folder`.
        is_spread: over all devices in sight, in place of `device`.
    """
    args = {**model_args(run, revisions), "journal": str(journal or folder / JOURNAL)}
    command = [
        *runner,
        *("--model", run.model),
        *("--model_args", json.dumps(args | ({"device_map": "auto"} if is_spread else {}))),
        *("--tasks", run.task),
        *("--include_path", run.include_path or str(tasks_dir())),
        *("--batch_size", run.batch_size),
        *(() if is_spread else ("--device", device)),
        "--log_samples",
    ]
    if run.chat_template is not False:
        command += ["--apply_chat_template", *([run.chat_template] if isinstance(run.chat_template, str) else [])]
    if run.num_shot is not None:
        command += ["--num_fewshot", str(run.num_shot)]
    if run.fewshot_as_multiturn is not None:
        command += ["--fewshot_as_multiturn", str(run.fewshot_as_multiturn).lower()]
    if run.metadata is not None:
        command += ["--metadata", run.metadata]
    if run.confirm_run_unsafe_code:
        command.append("--confirm_run_unsafe_code")
    if run.limit is not None:
        command += ["--limit", number(run.limit)]
    if run.samples is not None:
        command += ["--samples", json.dumps({run.task: list(range(*run.samples))})]
    # A path that ends in .json keeps lm-eval from adding a folder named after the checkpoint.
    return [*command, "--output_path", str(folder / "results.json")]
