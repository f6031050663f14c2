"""MATH: graded by lm-eval's own task, and whether there was anything to grade."""

from __future__ import annotations

from typing import Any

from lm_eval.tasks.minerva_math import utils as minerva
from sympy.parsing.latex import parse_latex

# The parser's first use imports its tables. Within a comparison lm-eval's time limit may cut that import short, and
# sympy then parses nothing more: every answer that is not the gold one letter by letter would be wrong.
parse_latex("1")


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """`exact_match` and `math_verify` of the stock task; `unreadable` where math_verify finds nothing in the answer."""
    scores = minerva.process_results(doc, results)
    # What was verified was read; parsing takes longest, up to its time limit.
    is_readable = scores["math_verify"] or minerva.parse(results[0])
    return {**scores, "unreadable": float(not is_readable)}
