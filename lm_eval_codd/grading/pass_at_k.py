"""pass@k: how likely it is that at least one of k answers passes (Chen et al. 2021, equation 1)."""

from __future__ import annotations

import math


def pass_at_k(num_answers: int, num_passed: int, k: int) -> float:
    """The unbiased estimate from `num_answers` drawn answers of which `num_passed` pass, 0 to 1.

    It is the share of all choices of k among them that hold one which passes.

    Raises:
        ValueError: fewer answers than k, which say nothing of pass@k.
    """
    if not 1 <= k <= num_answers:
        raise ValueError(
            f"pass@{k} needs {k} answers to a row or more, and there are {num_answers}; set `repeats: {k}`"
        )
    choices = math.comb(num_answers, k)
    return (choices - math.comb(num_answers - num_passed, k)) / choices
