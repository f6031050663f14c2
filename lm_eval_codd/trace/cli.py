"""`lm-eval-codd trace`: watch one prompt being decoded."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from lm_eval_codd.files.outputs import check_file, write_text
from lm_eval_codd.registration import MODELS
from lm_eval_codd.terminal.parser import Parser

_EPILOG: Final = """\
example:
  lm-eval-codd trace --model codd_llada --model_args pretrained=demo,pc=demo,num_steps=4 --prompt "Ann has 9 pens. Ann \
sells 4. How many are left?\""""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the steps of a decode, or write them as a page; the exit status."""
    parser = Parser(
        prog="lm-eval-codd trace",
        description="Decode one prompt and show every step: the canvas, the confidences, what was committed and, with "
        "a codd_ model, what the circuit changed, beside a decode by the backbone alone.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--model", required=True, choices=MODELS, metavar="NAME", help=f"as for lm_eval: {', '.join(MODELS)}"
    )
    parser.add_argument(
        "--model_args", required=True, metavar="K=V,...", help="as for lm_eval: pretrained=...,pc=...,num_steps=..."
    )
    parser.add_argument(
        "--prompt", required=True, metavar="TEXT", help="the question; the checkpoint's chat template is put around it"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page instead; its folder may be missing")
    given = parser.parse_args(argv)
    if given.html is not None:
        check_file("--html", given.html)

    from lm_eval_codd.trace.comparison import compare
    from lm_eval_codd.trace.page import build_page
    from lm_eval_codd.trace.terminal import frames

    module, name = MODELS[given.model].split(":")
    lm = getattr(import_module(module), name).create_from_arg_string(given.model_args)
    comparison = compare(lm, given.prompt)
    if given.html is not None:
        write_text(given.html, build_page(comparison))
        print(given.html)
    else:
        for frame in frames(comparison, shutil.get_terminal_size((120, 24)).columns, colour=_wants_colour()):
            print(frame)
    if comparison.approximations:
        print(f"\napproximate: {', '.join(comparison.approximations)}")
    if comparison.extensions:
        print(f"\nextension, without a reference: {', '.join(comparison.extensions)}")
    for decode, trace in comparison.traces.items():
        generation = trace.generation
        print(
            f"\n{decode}: {generation.num_answer_tokens} tokens, NFE {generation.num_forward}, "
            f"circuit evaluations {generation.num_circuit}\n{comparison.answers[decode]}"
        )
    return 0


def _wants_colour() -> bool:
    """On a terminal, unless NO_COLOR (no-color.org) says otherwise; FORCE_COLOR for a pager."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()
