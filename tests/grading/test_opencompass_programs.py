"""OpenCompass's forms of MBPP's programs, searched for in time that grows as the text: as its regular expressions."""

import random
import re

import pytest

from lm_eval_codd.grading.opencompass import mbpp_program

# As OpenCompass has them, in its order.
FORMS = (
    *(r"\[BEGIN\]\s*'(.*)'\s*\[DONE\]", r"BEGIN\s*'(.*)'\s*\[DONE\]", r"\[BEGIN\]\s*'(.*)'\s*DONE"),
    *(r"BEGIN\s*'(.*)'\s*DONE", r"\[BEGIN\]\s*'(.*)\s*\[DONE\]", r"BEGIN\s*'(.*)\s*\[DONE\]"),
    *(r"\[BEGIN\]\s*'(.*)\s*DONE", r"BEGIN\s*'(.*)\s*DONE", r"\[BEGIN\]\s*(.*)\s*\[DONE\]"),
    *(r"BEGIN\s*(.*)\s*\[DONE\]", r"\[BEGIN\]\s*(.*)\s*DONE", r"BEGIN\s*(.*)\s*DONE", r"```python\s*(.*)\s*```"),
    *(r"```\s*(.*)\s*```", r"```python\s*(.*)\s*$", r"```\s*(.*)\s*$", r"(.*)\s*```.*", r"\[BEGIN\]\s*'(.*)"),
    *(r"\[BEGIN\](.*)", r"'(.*)'\s*\[DONE\]"),
)
MARKS = ("[BEGIN]", "BEGIN", "[DONE]", "DONE", "'", "```", "```python", "`", " ", "\n", "\x1c", "x", "[", "]", "\\_")
SIZE = 50_000


def by_regular_expressions(text: str) -> str:
    found = next((match for form in FORMS if (match := re.search(form, text, re.DOTALL))), None)
    text = text if found is None else found.group(1)
    text = re.split(r"'?\s*\[?DONE\]?", text.split("```")[0])[0].replace("\\_", "_").strip()
    return text.removeprefix("'").removesuffix("'")


def test_any_marks_are_read_as_by_the_regular_expressions():
    draw = random.Random(0)
    for _ in range(5000):
        text = "".join(draw.choices(MARKS, k=draw.randrange(14)))
        assert mbpp_program(text) == by_regular_expressions(text)


@pytest.mark.parametrize("begun", ["", "[BEGIN]", "[BEGIN] '", "```python", "```", "'"])
@pytest.mark.parametrize("unit", [" ", "x", "' ", "[BEGIN]'", "[BEGIN] ", "DONE", "` "])
def test_a_long_answer_is_read_like_any_other(begun, unit):
    assert len(mbpp_program(begun + unit * (SIZE // len(unit)))) <= SIZE + len(begun)
