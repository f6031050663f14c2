"""The child process that executes a run: lm-eval's own command line, with the project's models and tasks."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.launch.naming import number
from lm_eval_codd.launch.run_flags import CIRCUIT_SETTINGS
from lm_eval_codd.registration import tasks_dir
from lm_eval_codd.settings import DecodingConfig

if TYPE_CHECKING:
    from lm_eval_codd.launch.runs import Run

RUNNER: Final = (sys.executable, "-m", "lm_eval_codd", "run")

# Where a run writes down every answer as it is made, inside of its folder.
JOURNAL: Final = "journal"


def model_name(run: Run) -> str:
    """The run's model as lm-eval knows it."""
    return run.family if run.circuit is None else f"codd_{run.family}"


def model_args(run: Run) -> dict[str, Any]:
    """Arguments of the model: the checkpoint, the steps, and every setting that is not the family's default.

    A checkpoint's own defaults stay out of a run: its flags and its name say everything.
    """
    args: dict[str, Any] = {"pretrained": run.checkpoint, "own_defaults": False}
    for name, value in (("peft", run.peft), ("pc", run.circuit), ("dtype", run.dtype), ("max_length", run.max_length)):
        if value is not None:
            args[name] = value
    defaults = DecodingConfig.for_family(run.family)
    for field in dataclasses.fields(run.config):
        value = getattr(run.config, field.name)
        if field.name in CIRCUIT_SETTINGS and run.circuit is None:
            continue
        if field.name == "num_steps" and run.config.steps_follow_confidence:
            continue
        if field.name in ("alg", "num_steps") or value != getattr(defaults, field.name):
            args[field.name] = value
    return args


def build_command(run: Run, folder: Path, device: str, runner: tuple[str, ...] = RUNNER) -> list[str]:
    """The command line of a run that writes `results_*.json` and `samples_*.jsonl` into `folder`.

    Model arguments travel as one JSON object, which lm-eval takes in place of `key=value` pairs: commas, spaces, `=`
    and numbers that are really words survive only there.
    """
    command = [
        *runner,
        *("--model", model_name(run)),
        *("--model_args", json.dumps({**model_args(run), "journal": str(folder / JOURNAL)})),
        *("--tasks", run.task),
        *("--include_path", run.include_path or str(tasks_dir())),
        *("--batch_size", run.batch_size),
        *("--device", device),
        "--log_samples",
    ]
    if run.chat_template is not False:
        command += ["--apply_chat_template", *([run.chat_template] if isinstance(run.chat_template, str) else [])]
    if run.num_shot is not None:
        command += ["--num_fewshot", str(run.num_shot)]
    if run.confirm_run_unsafe_code:
        command.append("--confirm_run_unsafe_code")
    if run.limit is not None:
        command += ["--limit", number(run.limit)]
    if run.samples is not None:
        command += ["--samples", json.dumps({run.task: list(range(*run.samples))})]
    # A path that ends in .json keeps lm-eval from adding a folder named after the checkpoint.
    return [*command, "--output_path", str(folder / "results.json")]
