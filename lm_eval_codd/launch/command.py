"""The child process that executes a run: lm-eval's own command line, with the project's models and tasks."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.catalogue import DEFAULT_CHECKPOINTS, MASKED_LM
from lm_eval_codd.registration import tasks_dir
from lm_eval_codd.runs.checkpoints import split_revision
from lm_eval_codd.runs.naming import number
from lm_eval_codd.runs.run_flags import CIRCUIT_SETTINGS
from lm_eval_codd.settings import READ_BY_LIKELIHOODS, DecodingConfig

if TYPE_CHECKING:
    from lm_eval_codd.runs.run import Run

RUNNER: Final = (sys.executable, "-m", "lm_eval_codd", "run")

_NONE: Final[Mapping[str, str]] = {}

# Where a run writes down every answer as it is made, inside of its folder.
JOURNAL: Final = "journal"


def model_name(run: Run) -> str:
    """The run's model as lm-eval knows it."""
    name = run.family if run.family in DEFAULT_CHECKPOINTS else MASKED_LM
    return name if run.circuit is None else f"codd_{name}"


def model_args(run: Run, revisions: Mapping[str, str] = _NONE) -> dict[str, Any]:
    """Arguments of the model: the checkpoint, the steps, and every setting that is not the family's default.

    Hub ids go with the commit that was fetched, else with the revision that they are pinned to.

    A checkpoint's own defaults stay out of a run: its flags and its name say everything.
    """
    args: dict[str, Any] = {}
    for name, source in run.sources.items():
        args[name], pinned = split_revision(source)
        if name != "tokenizer" and (revision := revisions.get(source, pinned)):
            args["revision" if name == "pretrained" else f"{name}_revision"] = revision
    if run.family not in DEFAULT_CHECKPOINTS:
        args["family"] = run.family
    args["own_defaults"] = False
    template_args = None if run.chat_template_args is None else json.loads(run.chat_template_args)
    for name, value in (
        ("attention", run.attention),
        ("dtype", run.dtype),
        ("max_length", run.max_length),
        ("add_bos_token", run.add_bos_token),
        ("chat_template_args", template_args),
    ):
        if value is not None:
            args[name] = value
    if run.likelihood is not None:
        args |= json.loads(run.likelihood)
    usual = run.config.usual(run.family)
    if run.config.decoder != DecodingConfig.decoder:
        args["decoder"] = run.config.decoder
    for field in dataclasses.fields(run.config):
        value = getattr(run.config, field.name)
        if field.name in CIRCUIT_SETTINGS and run.circuit is None:
            continue
        if field.name == "num_steps" and run.config.steps_follow_confidence:
            continue
        if not run.config.reads(field.name):
            continue
        if run.decodes_nothing and field.name not in READ_BY_LIKELIHOODS:
            continue
        # A model takes the length of its blocks from the checkpoint, where nothing else is said.
        always = ("alg", "num_steps", "block_length") if run.config.rule is not None else ("alg", "num_steps")
        if field.name in always or value != usual[field.name]:
            args[field.name] = value
    return args


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
        *("--model", model_name(run)),
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
