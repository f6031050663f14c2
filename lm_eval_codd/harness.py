"""lm-eval's own command line with this package's models and tasks in place: the way that needs no start-up hook."""

from __future__ import annotations

import argparse
import sys

from lm_eval_codd.registration import register, tasks_dir


def run(argv: list[str]) -> None:
    """Hand the arguments to lm-eval, whose `run` is meant when none of its commands comes first.

    Our tasks are found without `--include_path`; one that is given, here or in a `--config` file, replaces them.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--include_path")
    parser.add_argument("--config", "-C")
    given, _ = parser.parse_known_args(argv)

    register()
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.config.evaluate_config import EvaluatorConfig

    command, rest = (argv[0], argv[1:]) if argv and argv[0] in ("run", "ls", "validate") else ("run", argv)
    config = EvaluatorConfig.load_yaml_config(given.config) if given.config else {}
    if given.include_path is None and not config.get("include_path"):
        rest = ["--include_path", str(tasks_dir()), *rest]
    sys.argv = ["lm-eval", command, *rest]
    cli_evaluate()


def tasks(argv: list[str]) -> None:
    """Print the folder of the tasks."""
    parser = argparse.ArgumentParser(
        prog="lm-eval-codd tasks",
        description='Print the folder of the tasks: lm_eval --include_path "$(python -m lm_eval_codd tasks)" ...',
    )
    parser.parse_args(argv)
    print(tasks_dir())
