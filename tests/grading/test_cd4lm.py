"""CD4LM's graders against its own code (golden/decoders), and that no text makes them raise or hang."""

import json
import random
from pathlib import Path

import pytest

from lm_eval_codd.grading import cd4lm

FOLDER = Path(__file__).parent.parent / "golden" / "decoders"
SIZE = 200_000

# What a careless expression or loop would take minutes for.
HOSTILE = [
    "x" * SIZE,
    "<answer>" * (SIZE // 8),
    "<|" * (SIZE // 2),
    "<|x" * (SIZE // 3),
    "\\boxed{" * (SIZE // 7),
    "\\frac" * (SIZE // 5),
    "\\sqrt" * (SIZE // 5),
    "1,1" * (SIZE // 3),
    "x" + "\n" * SIZE + "x",
    "#" + "\n" * SIZE + "def",
    "def " * (SIZE // 4),
    "```python\n" * (SIZE // 10),
    "```\n" * (SIZE // 4),
    "[END" * (SIZE // 4),
    "=" * SIZE,
    "/" * SIZE,
]


def cases(name):
    return json.loads((FOLDER / name).read_text())["cases"]


class TestMath:
    @pytest.mark.parametrize("case", cases("cd4lm_math_grader.json"), ids=lambda case: case["generation"][:30])
    def test_answers_and_verdicts_are_the_official_ones(self, case):
        for answer_of, is_correct, name in (
            (cd4lm.gsm8k_answer, cd4lm.gsm8k_is_correct, "gsm8k"),
            (cd4lm.math500_answer, cd4lm.math500_is_correct, "math500"),
        ):
            answer = answer_of(case["generation"])
            assert {"extracted": answer, "correct": is_correct(answer, case["target"])} == case[name], name
            assert cd4lm.normalised(case["target"], all_percent_signs=name == "gsm8k") == case["strip_target"]

    @pytest.mark.parametrize(
        ("text", "normal"),
        [
            ("1,234,567,890", "1234567890"),
            ("\\sqrt 3", "\\sqrt{}3"),
            ("\\sqrt", "\\sqrt"),
            ("\\frac1", "\\frac1"),
            ("\\frac1{2}", "\\frac{1}{2}"),
            ("\\frac12+\\frac", "\\frac{1}{2}+\\frac"),
            ("a \\text{ m} \\text{ s}", "a\\text{m}\\text{s}"),
            ("k = 3", "3"),
            ("abc=3", "abc=3"),
            ("1/2/3", "1/2/3"),
            ("pi/2", "pi/2"),
            ("1.5/2", "\\frac{1.5}{2}"),
            ("2 .5", "20.5"),
        ],
    )
    def test_the_form_that_is_compared(self, text, normal):
        assert cd4lm.normalised(text, all_percent_signs=True) == normal

    def test_a_percent_sign_counts_in_math500_alone(self):
        assert cd4lm.gsm8k_is_correct("10%", "10")
        assert not cd4lm.math500_is_correct("10%", "10")

    def test_numbers_are_equal_within_a_millionth(self):
        assert cd4lm.gsm8k_is_correct("3.0000005", "3")
        assert not cd4lm.gsm8k_is_correct("3.000002", "3")

    @pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
    def test_a_long_text_is_graded_like_any_other(self, text):
        for answer_of, is_correct in (
            (cd4lm.gsm8k_answer, cd4lm.gsm8k_is_correct),
            (cd4lm.math500_answer, cd4lm.math500_is_correct),
        ):
            assert not is_correct(answer_of(text), "7")
            assert not is_correct(text, "7")

    def test_any_text_of_its_marks_is_graded(self):
        marks = ["\\boxed", "\\boxed ", "\\fbox", "{", "}", "$", "<answer>", "</answer>", "\\frac", "\\sqrt", "/", "="]
        marks += ["1", ",", "234", ".", " ", "\\text{ ", "%", "\\", "nan", "inf", "\0", "\ud800", "\n"]
        draw = random.Random(0)
        for _ in range(2000):
            text, target = ("".join(draw.choices(marks, k=draw.randrange(12))) for _ in range(2))
            for answer_of, is_correct in (
                (cd4lm.gsm8k_answer, cd4lm.gsm8k_is_correct),
                (cd4lm.math500_answer, cd4lm.math500_is_correct),
            ):
                answer = answer_of(text)
                assert answer is None or is_correct(answer, answer)
                assert is_correct(answer, target) in (True, False)


class TestCode:
    @pytest.mark.parametrize("case", cases("cd4lm_code_extract.json"), ids=lambda case: case["generation"][:30])
    def test_programs_are_the_official_ones(self, case):
        text = case["generation"]
        assert cd4lm.humaneval_program(case["prompt"], case["entry_point"], text) == case["humaneval_code"]
        assert cd4lm.mbpp_code(text) == case["mbpp_extracted"]
        assert cd4lm.mbpp_program(text) == case["mbpp_code"]

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("x = 1[END] y", "x = 1"),
            ("import a<|eot_id|>more", "import a"),
            ("a|>b<|x", ""),
            ("# note <|", "# note <|"),
            ("Here it is: def f(): pass", ""),
            ("```python\nopen only", ""),
            ("```\na\n```\n```python\nb\n```", "b"),
        ],
    )
    def test_where_the_code_is(self, text, code):
        assert cd4lm.mbpp_code(text) == code

    @pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
    def test_a_long_text_is_read_like_any_other(self, text):
        cd4lm.mbpp_program(text)
        assert cd4lm.humaneval_program("def f(x):\n", "f", text) == ""
