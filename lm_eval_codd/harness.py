"""lm-eval's own command line with this package's models and tasks in place: the way that needs no start-up hook."""

from __future__ import annotations

import argparse
import difflib
import gc
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.names import unknown_name
from lm_eval_codd.registration import MODELS, register, tasks_dir

# How lm-eval's errors about names begin.
_UNKNOWN_TASKS: Final = "Tasks not found: "
_NO_TASKS: Final = "No tasks specified"
_UNKNOWN_MODEL: Final = "Attempted to load model "


def run(argv: list[str]) -> None:
    """Hand the arguments to lm-eval, whose `run` is meant when none of its commands comes first.

    Our tasks are found without `--include_path`; one that is given, here or in a `--config` file, replaces them.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--include_path")
    parser.add_argument("--config", "-C")
    parser.add_argument("--model", "-M")
    parser.add_argument("--tasks", "-t", nargs="*", default=[])
    given, _ = parser.parse_known_args(argv)

    register()
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.config.evaluate_config import EvaluatorConfig

    command, rest = (argv[0], argv[1:]) if argv and argv[0] in ("run", "ls", "validate") else ("run", argv)
    config = EvaluatorConfig.load_yaml_config(given.config) if given.config else {}
    include_path = given.include_path or config.get("include_path")
    if not include_path:
        include_path = str(tasks_dir())
        rest = ["--include_path", include_path, *rest]
    asked = {name for names in given.tasks for name in names.split(",")}
    if asked and Path(include_path) == tasks_dir() and asked <= _our_tasks():
        _leave_out_builtin_tasks()
        if given.model in MODELS:
            _import_model(given.model)
    sys.argv = ["lm-eval", command, *rest]
    try:
        cli_evaluate()
    except ValueError as error:
        said = _in_one_line(str(error), given.model or config.get("model") or "")
        if said is None:
            raise
        raise ValueError(said) from None


def _in_one_line(error: str, model: str) -> str | None:
    """What to do about lm-eval's error on a name, which it shows under its traceback; None for all other errors."""
    if error.startswith(_UNKNOWN_TASKS):
        return _unknown_tasks(error.removeprefix(_UNKNOWN_TASKS))
    if error.startswith(_NO_TASKS):
        return "`--tasks` is missing; `lm-eval-codd run ls tasks` lists them all"
    if error.startswith(_UNKNOWN_MODEL):
        from lm_eval.api.registry import model_registry

        return unknown_name(model, model_registry.keys(), kind="model")
    return None


def _unknown_tasks(names: str) -> str:
    near = [near for name in names.split(", ") for near in difflib.get_close_matches(name, _our_tasks(), n=1)]
    hint = f"did you mean {', '.join(near)}? " if near else ""
    return f"lm-eval knows no task {names}; {hint}`lm-eval-codd run ls tasks` lists them all"


def _our_tasks() -> set[str]:
    return {path.stem for path in tasks_dir().glob("*/codd_*.yaml")}


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
    parser = argparse.ArgumentParser(
        prog="lm-eval-codd tasks",
        description='Print the folder of the tasks: lm_eval --include_path "$(python -m lm_eval_codd tasks)" ...',
    )
    parser.parse_args(argv)
    print(tasks_dir())
