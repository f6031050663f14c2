"""WINO's graders on texts that are long and say nothing."""

import pytest

from lm_eval_codd.grading import wino

SIZE = 50_000


@pytest.mark.parametrize("begun", ["", "<answer>", "<answer>```", "</answer>", "1234341221434321"])
@pytest.mark.parametrize("unit", [" ", "1 ", "```", "``` ", "<answer>", "</answer>x"])
def test_sudoku_of_a_long_answer_is_read_like_any_other(begun, unit):
    assert len(wino.sudoku_answer(begun + unit * (SIZE // len(unit)))) in (0, 16)


@pytest.mark.parametrize("unit", ["def f(x):\n", "def f(", "):\n", "def  ", "\n``"])
def test_mbpp_of_a_long_answer_without_a_fence_does_not_run(unit):
    assert wino.mbpp_code(unit * (SIZE // len(unit)), "assert f(1) == 1").startswith("    ```python\n")
