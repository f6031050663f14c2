"""Measure what must be fast, and hold it against its goals.

Every command prints one table of figures; `--json FILE` keeps them all, with the machine and the versions. Ratios are
measured in one process, so that they hold on a slow or busy machine too; absolute figures need an idle one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

COMMANDS: Final = {
    "decode": "decoding against the official loop, against the machine's limits, and where the time goes",
    "likelihood": "likelihood requests against the official loop",
    "dit": "samples of MDLM and DUO at their real shape: memory, and against the plain formula",
    "blocks": "the block decoder: finished blocks kept against recomputed, and its time outside of the models",
    "circuit": "one circuit evaluation against the floor of its matrix product",
    "harness": "what evaluating costs around the decoding: tokenising, padding, journal, scoring; and start-up",
    "launcher": "runs on several slots and ranks against one",
    "sandbox": "generated programs in the sandbox against bare interpreters",
    "scale": "a Slurm array of ten thousand tasks without a model, from the command line to the report",
}


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Tells a default where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default not in (None, False) else action.help


# The official loop, which decoding is measured against, is an oracle of the tests.
sys.path.append(str(Path(__file__).resolve().parents[1]))


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=f"Measure {summary}.",
            formatter_class=_Help,
        )
        # Only the command that is asked for is imported: most of them import torch.
        if argv[:1] == [name]:
            module = import_module(f"benchmarks.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
        command.add_argument("--json", metavar="FILE", help="write every figure to this file")
    arguments = parser.parse_args(argv)
    if arguments.json and not Path(arguments.json).absolute().parent.is_dir():
        parser.error(f"`--json {arguments.json}` is in a folder that does not exist; make it first")

    from benchmarks.table import show, write_json

    try:
        rows = arguments.run(arguments)
    except ValueError as error:
        raise SystemExit(f"bench.py: {error}") from error
    show(rows)
    if arguments.json:
        write_json(rows, arguments.json, command=argv)


if __name__ == "__main__":
    main()
