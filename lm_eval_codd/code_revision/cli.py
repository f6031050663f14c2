"""`lm-eval-codd crb make`: corrupted programs for the Code Revision Benchmark."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

from lm_eval_codd.code_revision.cells import CELLS, DATASETS, ERROR_TYPES, NUMBERS, SEED, VARIANTS, Cell
from lm_eval_codd.files.outputs import check_file, write_text
from lm_eval_codd.terminal.parser import Parser

__all__ = ["main"]

_T = TypeVar("_T", str, int)

_ABOUT: Final = """Corrupted programs for the tasks codd_crb_*, one file with every cell that is asked for.

  lm-eval-codd crb make --tokenizer fredzzp/open-dcoder-0.5B --output crb.jsonl
  lm-eval-codd crb make --tokenizer CHECKPOINT --datasets mbpp --error_types operator --numbers 1,2 --output crb.jsonl
  lm_eval --tasks codd_crb_mbpp_operator_1 --metadata inputs=crb.jsonl ...

Positions of errors are counted in the tokenizer's tokens: use that of the models to evaluate. Programs are run in the
sandbox, because only those that fail their tests are to be revised. Operators come out as in the published files;
names (var) and numbers (literal) cannot, and are a new sample. The data sets come from the hub, or from
humaneval/test.jsonl, humaneval_plus/test.jsonl, mbpp/test.jsonl and mbpp_plus/test.jsonl below CODD_DATA_DIR; those of
MBPP need autopep8 (pip install 'lm-eval-codd[crb]')."""


def main(argv: Sequence[str]) -> int:
    """`lm-eval-codd crb`; returns its exit status. Errors are a `ValueError` or `RuntimeError` of one line."""
    args = _parser().parse_args(argv)
    datasets = _chosen("datasets", args.datasets, tuple(DATASETS))
    error_types = _chosen("error_types", args.error_types, ERROR_TYPES)
    numbers = _chosen("numbers", args.numbers, NUMBERS)
    # Python's generator draws from -1 what it draws from 1.
    for name, least in (("variants", 1), ("limit", 1), ("seed", 0)):
        if getattr(args, name) is not None and getattr(args, name) < least:
            raise ValueError(f"`--{name} {getattr(args, name)}` must be at least {least}")
    check_file("--output", args.output)
    cells = [cell for cell in CELLS if cell.dataset in datasets and cell.error_type in error_types]
    _make([cell for cell in cells if cell.number in numbers], args)
    return 0


def _make(cells: Sequence[Cell], args: argparse.Namespace) -> None:
    from lm_eval_codd import sandbox
    from lm_eval_codd.backbones.tokenizer import load_tokenizer
    from lm_eval_codd.code_revision.make import make_cell, mark_passed, read_dataset
    from lm_eval_codd.code_revision.tokens import Tokens

    sandbox.require()
    if not (sandbox.is_confined() or args.confirm_run_unsafe_code):
        raise ValueError(
            "this machine's kernel does not confine the corrupted programs that are run; "
            "`--confirm_run_unsafe_code` runs them all the same"
        )
    # Where there is no tokenizer.json, vocab.json and merges.txt are read as Qwen2's, which Dream's are.
    tokens = Tokens(load_tokenizer(args.tokenizer, "dream", is_apart=True), args.tokenizer)
    rows = {name: read_dataset(name)[1][: args.limit] for name in dict.fromkeys(cell.dataset for cell in cells)}
    made = []
    for cell in cells:
        of_cell = list(make_cell(cell, rows[cell.dataset], tokens, seed=args.seed, variants=args.variants))
        of_cell = mark_passed(of_cell, cell.dataset, rows[cell.dataset])
        failing = sum(not row["test_passed"] for row in of_cell)
        new = " (a new sample, not the published one)" if any(row["new_sample"] for row in of_cell) else ""
        print(f"{cell.label}: {len(of_cell)} programs, {failing} fail their tests{new}")
        made += of_cell
    if not made:
        raise ValueError("no program has as many tokens to corrupt; `--numbers` with smaller ones, or a larger --limit")
    lines = (json.dumps(row, ensure_ascii=False) for row in made)
    write_text(args.output, "".join(f"{line}\n" for line in lines))
    print(f"wrote {args.output}: {len(made)} programs, positions in tokens of {args.tokenizer}")


def _chosen(name: str, given: str | None, choices: Sequence[_T]) -> tuple[_T, ...]:
    """The values of a list with commas; all without one."""
    if given is None:
        return tuple(choices)
    by_text = {str(choice): choice for choice in choices}
    texts = [text.strip() for text in given.split(",")]
    for text in texts:
        if text not in by_text:
            raise ValueError(f"`--{name} {given}`: {text or 'nothing'} is not one of {', '.join(by_text)}")
    return tuple(by_text[text] for text in texts)


def _parser() -> Parser:
    parser = Parser(prog="lm-eval-codd crb", description=_ABOUT)
    commands = parser.add_subparsers(metavar="make", required=True, dest="command")
    make = commands.add_parser("make", help="make a file of corrupted programs", description=_ABOUT)
    make.add_argument("--tokenizer", required=True, help="folder or hub id of a checkpoint or tokenizer")
    make.add_argument("--output", required=True, type=Path, metavar="FILE", help="JSON lines, overwritten")
    make.add_argument("--datasets", metavar="A,B", help=f"of {', '.join(DATASETS)} (default: all)")
    make.add_argument("--error_types", metavar="A,B", help=f"of {', '.join(ERROR_TYPES)} (default: all)")
    make.add_argument("--numbers", metavar="1,2", help="tokens to corrupt, 1 to 5 (default: all)")
    make.add_argument(
        "--variants", type=int, default=VARIANTS, metavar="N", help=f"of each program (default: {VARIANTS})"
    )
    make.add_argument("--seed", type=int, default=SEED, metavar="N", help=f"of each cell (default: {SEED})")
    make.add_argument("--limit", type=int, metavar="N", help="only the first N programs of each data set")
    make.add_argument(
        "--confirm_run_unsafe_code", action="store_true", help="where the kernel cannot confine programs: run them"
    )
    return parser
