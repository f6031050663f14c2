"""lm-eval's own command line with this package's models and tasks in place: the way that needs no start-up hook."""

from __future__ import annotations

import argparse
import gc
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from lm_eval_codd.registration import MODELS, register, task_names, tasks_dir
from lm_eval_codd.runs.yaml_file import load_yaml
from lm_eval_codd.terminal.host_errors import explained
from lm_eval_codd.terminal.parser import Parser


def run(argv: list[str]) -> None:
    """Hand the arguments to lm-eval, whose `run` is meant when none of its commands comes first.

    Our tasks are found without `--include_path`; one that is given, here or in a `--config` file, replaces them.

    Raises:
        ValueError: one line: no such settings, or a name that lm-eval does not know; and lm-eval's own.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--include_path")
    parser.add_argument("--config", "-C")
    parser.add_argument("--model", "-M")
    parser.add_argument("--tasks", "-t", nargs="*", default=[])
    given, _ = parser.parse_known_args(argv)

    config = _settings(given.config) if given.config else {}
    register()
    from lm_eval.__main__ import cli_evaluate

    command, rest = (argv[0], argv[1:]) if argv and argv[0] in ("run", "ls", "validate") else ("run", argv)
    include_path = given.include_path or config.get("include_path")
    if not include_path:
        include_path = str(tasks_dir())
        rest = ["--include_path", include_path, *rest]
    asked = {name for names in given.tasks for name in names.split(",")}
    if asked and Path(include_path) == tasks_dir() and asked <= task_names():
        _leave_out_builtin_tasks()
        if given.model in MODELS:
            _import_model(given.model)
    sys.argv = ["lm-eval", command, *rest]
    try:
        cli_evaluate()
    except ValueError as error:
        from lm_eval.api.registry import model_registry

        said = explained(
            str(error),
            given.model or config.get("model") or "",
            models=model_registry.keys(),
            tasks=task_names(),
            command="lm-eval-codd run",
        )
        if said is None:
            raise
        raise ValueError(said) from None


def _settings(written: str) -> dict[str, Any]:
    """What the file of `--config` sets. lm-eval reads it once more, and shows its errors as faults of the program."""
    path, advice = Path(written), "give a YAML file of lm-eval's settings"
    if not path.is_file():
        raise ValueError(f"`--config {written}` {'is a folder' if path.is_dir() else 'does not exist'}; {advice}")
    try:
        settings = load_yaml(path, yaml.SafeLoader)
    except ValueError as error:
        raise ValueError(f"--config: {error}; {advice}") from None
    if not isinstance(settings, dict):
        raise ValueError(f"`--config {written}` holds no settings; {advice}")
    return settings


def _leave_out_builtin_tasks() -> None:
    """Index our tasks only: lm-eval reads its 14,000 at every start, which takes longer than a short run."""
    import lm_eval.tasks

    class OurTasks(lm_eval.tasks.TaskManager):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "include_defaults": False})

    lm_eval.tasks.TaskManager = OurTasks


def _import_model(name: str) -> None:
    """Import a model of ours ahead of lm-eval, without the garbage collector.

    An import of torch and transformers leaves a million objects and no garbage, and looking for it takes a fifth of the
    start; frozen, they are not looked at again either.
    """
    gc.disable()
    try:
        import_module(MODELS[name].partition(":")[0])
        gc.freeze()
    finally:
        gc.enable()


def tasks(argv: list[str]) -> None:
    """Print the folder of the tasks."""
    parser = Parser(
        prog="lm-eval-codd tasks",
        description="Print the folder of the tasks. Without the start-up hook lm-eval finds them by it:\n\n"
        '  lm_eval --include_path "$(python -m lm_eval_codd tasks)" --tasks codd_gsm8k ...',
    )
    parser.parse_args(argv)
    print(tasks_dir())
