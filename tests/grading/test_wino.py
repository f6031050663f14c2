"""WINO's graders on texts that are long and say nothing."""

import random
import re

import pytest

from lm_eval_codd.grading import wino

SIZE = 50_000
# As WINO has it: from the first box of a line to that line's last brace.
BOX = re.compile(r"\\boxed\{(.*)\}")
NUMBER = re.compile(r"[+-]?(?=\.?[0-9])(?:[1-9]\d{0,2}(?:,\d{3})*|\d*)(?:\.\d*)?(?!\d)")
MARKS = (
    "\\boxed{",
    "\\boxed",
    "{",
    "}",
    "\n",
    "\r",
    "\u2028",
    "1",
    "2,000",
    "+3",
    "-.5",
    "٣",
    "x",
    "\\text{",
    " ",
    "$",
)


def by_regular_expressions(text):
    box = BOX.search(text)
    numbers = NUMBER.findall(box.group(1).replace(",", "").replace("+", "").strip()) if box else []
    numbers = numbers or NUMBER.findall(text)
    return float(numbers[-1].replace(",", "")) if numbers else None


def test_a_number_of_any_marks_is_read_as_by_the_regular_expressions(times):
    draw = random.Random(0)
    for _ in range(times(5000, 100_000)):
        text = "".join(draw.choices(MARKS, k=draw.randrange(14)))
        assert wino.gsm8k_answer(text) == by_regular_expressions(text), text


@pytest.mark.parametrize("begun", ["", "<answer>", "<answer>```", "</answer>", "1234341221434321"])
@pytest.mark.parametrize("unit", [" ", "1 ", "```", "``` ", "<answer>", "</answer>x"])
def test_sudoku_of_a_long_answer_is_read_like_any_other(begun, unit):
    assert len(wino.sudoku_answer(begun + unit * (SIZE // len(unit)))) in (0, 16)


@pytest.mark.parametrize("unit", ["def f(x):\n", "def f(", "):\n", "def  ", "\n``"])
def test_mbpp_of_a_long_answer_without_a_fence_does_not_run(unit):
    assert wino.mbpp_code(unit * (SIZE // len(unit)), "assert f(1) == 1").startswith("    ```python\n")
