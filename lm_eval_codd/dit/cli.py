"""`lm-eval-codd dit COMMAND`."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from lm_eval_codd.terminal.parser import Parser

_COMMANDS: Final = {
    "convert": "a Lightning .ckpt as a folder in safetensors",
    "train": "a model from nothing",
    "distil": "a DUO into a student of fewer steps",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command of the DiT family and return its exit status. Raises `ValueError`, one line."""
    parser = Parser(prog="lm-eval-codd dit", description="DUO, MDLM, SEDD, D3PM and AR.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, says in _COMMANDS.items():
        commands.add_parser(name, help=says, add_help=False)
    known, rest = parser.parse_known_args(argv)
    status: int = import_module(f"lm_eval_codd.dit.{known.command}").main(rest)
    return status
