"""`python -m lm_eval_codd COMMAND ...`, installed as `lm-eval-codd`.

A command is imported when it is asked for, so that `tasks` or `--help` do not wait for torch.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

from lm_eval_codd import __version__
from lm_eval_codd.names import unknown_name
from lm_eval_codd.registration import tasks_dir
from lm_eval_codd.terminal.clean_text import one_line
from lm_eval_codd.terminal.columns import aligned
from lm_eval_codd.terminal.errors import ends_in_one_line

PROG: Final = "lm-eval-codd"


class Command(NamedTuple):
    """A command: the function that takes its arguments (`module:function`), and what `--help` says of it."""

    target: str
    help: str


COMMANDS: Final = {
    "run": Command(
        "lm_eval_codd.commands.harness:run", "lm-eval itself, with this package's models and tasks in place"
    ),
    "launch": Command("lm_eval_codd.launch:main", "several evaluations over GPUs or CPU slots, and the demo"),
    "report": Command("lm_eval_codd.reporting.cli:report_main", "tables, plots and a page of the runs in a folder"),
    "check": Command("lm_eval_codd.reporting.cli:check_main", "compare runs with published tables or own references"),
    "inspect": Command(
        "lm_eval_codd.commands.inspection:main", "what a checkpoint is, and whether it can be evaluated"
    ),
    "gap": Command("lm_eval_codd.gap.cli:main", "what parallel predictions lose, and a circuit wins back"),
    "train": Command("lm_eval_codd.training.fine_tuning_cli:main", "fine-tune a checkpoint with an objective"),
    "train-circuit": Command("lm_eval_codd.training.cli:main", "train a circuit for a backbone"),
    "convert-circuit": Command(
        "lm_eval_codd.circuits.files.convert:main", "a circuit from .jpc to .safetensors or back"
    ),
    "dit": Command("lm_eval_codd.dit.cli:main", "DUO, MDLM, SEDD, D3PM and AR: convert, train, distil"),
    "crb": Command("lm_eval_codd.code_revision.cli:main", "corrupted programs for the Code Revision Benchmark"),
    "trace": Command("lm_eval_codd.trace.cli:main", "one prompt decoded step by step, in the terminal or as a page"),
    "tasks": Command("lm_eval_codd.commands.harness:tasks", "the folder of the tasks, for lm-eval's --include_path"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status.

    0; 1 when a run failed, 2 when it could not start, 130 at Ctrl-C, 141 when nobody reads its output any more.
    """
    for stream in filter(None, (sys.stdout, sys.stderr)):
        # A name that the terminal's encoding cannot say is shown escaped, and ends no command.
        stream.reconfigure(errors="backslashreplace")
    try:
        try:
            return _command(sys.argv[1:] if argv is None else argv)
        finally:
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()  # here, where a reader that has gone, as `head` does, can still be answered
    except BrokenPipeError:
        _drop_output()
        return 128 + signal.SIGPIPE


def _command(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    name, *rest = argv
    if name == "--version":
        print(PROG, __version__)
        return 0
    if name not in COMMANDS:
        print(f"{PROG}: {unknown_name(name, COMMANDS, kind='command')}", file=sys.stderr)
        return 2
    module, function = COMMANDS[name].target.split(":")
    try:
        return getattr(import_module(module), function)(rest) or 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        raise
    except (ValueError, OSError, RuntimeError) as error:
        if not ends_in_one_line(error, (Path(__file__).resolve().parent, tasks_dir())):
            raise
        print(f"{PROG} {name}: {one_line(error)}", file=sys.stderr)
        return 2


def _drop_output() -> None:
    """Send what is left to say nowhere, or Python would try once more at its end and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())


def _usage() -> str:
    rows = "\n".join(f"  {line}" for line in aligned([(name, command.help) for name, command in COMMANDS.items()]))
    return f"""usage: {PROG} COMMAND ...

Evaluate diffusion language models (LLaDA, Dream, CoDD) in the stock
lm-evaluation-harness.

commands:
{rows}

`{PROG} COMMAND --help` says more; `python -m lm_eval_codd` is the same.
With LMEVAL_LOG_LEVEL=DEBUG an error shows where it comes from."""


if __name__ == "__main__":
    sys.exit(main())
