"""d1's graders on cases worked out by reading its code, and that no text makes them raise or hang."""

import math
import random

import pytest

from lm_eval_codd.grading import d1

SIZE = 200_000


class TestGSM8K:
    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            ("So it is \\boxed{18}.", 18.0),
            ("\\boxed{18.50}", 18.5),
            ("\\boxed{\\$18 dollars}", 18.0),
            ("\\boxed{\\text{18}}", 18.0),
            ("\\boxed{1,000}", 1.0),  # digits are not grouped
            ("\\boxed{-4}", -4.0),
            ("\\boxed{3 + 4 = 7}", 3.0),  # the first of a box
            ("\\boxed{...} then \\boxed{x} then \\boxed{5} or \\boxed{6}", 5.0),  # the first box that has one
            ("\\boxed{1\n2} \\boxed{3}", 3.0),  # a box is on one line
            ("\\boxed{\\boxed{5}}", 5.0),
            ("<answer>\n\\boxed{...}\n</answer> <answer>7</answer>", None),  # the first answer's marks alone
            ("<answer>between 3 and 4</answer>", 4.0),  # the last number between marks
            ("<answer>\n12\n</answer><|eot_id|><|endoftext|>", 12.0),
            ("\\boxed{9", None),
            ("The answer is 9.", None),
            ("<answer>9", None),
            ("", None),
        ],
    )
    def test_answers(self, text, answer):
        assert d1.gsm8k_answer(text) == answer

    @pytest.mark.parametrize(
        ("solution", "target"),
        [("2 + 2 = 4\n#### 4", 4.0), ("#### 1,450,000", 1450000.0), ("####$ 3", None), ("#### $3.5", 3.5), ("4", None)],
    )
    def test_targets(self, solution, target):
        assert d1.gsm8k_target(solution) == target

    def test_a_negative_gold_answer_equals_none(self):
        assert d1.gsm8k_target("#### -10") is None


class TestMATH500:
    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            ("\\boxed{1} and \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),  # the last box
            ("\\boxed 7$ is it", "7"),
            ("\\fbox{3}", "\\fbox{3}"),
            ("It is 4.", "It is 4."),  # without a box, all of it
            ("<answer>5</answer>", "<answer>5</answer>"),  # marks too
            ("<answer>5</answer> \\boxed{6", "5"),  # but for a box that is not closed
            ("\\boxed{} <answer> 5 </answer>", "5"),  # or empty
            ("\\boxed{6", None),
        ],
    )
    def test_answers(self, text, answer):
        assert d1.math500_answer(text) == answer

    @pytest.mark.parametrize(
        ("answer", "target"),
        [
            ("\\dfrac12", "\\frac{1}{2}"),
            ("1/2", "\\frac{1}{2}"),
            ("0.5", "\\frac12"),
            (".5", "1/2"),
            ("x = 3", "3"),
            ("\\left( 3, \\frac{\\pi}{2} \\right)", "\\left(3,\\frac{\\pi}{2}\\right)"),
            ("90^\\circ", "90"),
            ("\\$10", "10"),
            ("10\\%", "10"),
            ("5\\text{ cm}", "5"),
            ("\\sqrt3", "\\sqrt{3}"),
            ("2{.5}", "2{0.5}"),
            ("\\pi/2", "\\pi/2"),  # not normalised, so compared as written
        ],
    )
    def test_right(self, answer, target):
        assert d1.math500_is_correct(answer, target)

    @pytest.mark.parametrize(
        ("answer", "target"),
        [
            ("10%", "10"),
            ("1,000", "1000"),
            ("$10$", "10"),
            ("\\text{cm}5", "5"),
            ("abc=3", "3"),
            ("\\sqrt 3", "\\sqrt{3}"),
            ("3.0", "3"),
            ("1.5/2", "\\frac{1.5}{2}"),  # a slash between other than whole numbers ends normalising
            ("\\pi /2", "\\pi/2"),
            ("2\\sqrt", "2 \\sqrt"),
            ("\\frac12+\\frac3", "\\frac{1}{2}+\\frac3"),  # one fraction of a single character leaves all as they are
            ("5\\text{ m} \\text{ s}", "5"),
            (None, ""),
        ],
    )
    def test_wrong(self, answer, target):
        assert not d1.math500_is_correct(answer, target)


MARKS = (
    *("\\boxed", "\\boxed ", "\\boxed{", "\\fbox", "{", "}", "$", "<answer>", "</answer>", "\\frac", "\\sqrt"),
    *(
        "/",
        "=",
        "1",
        ",",
        "234",
        ".",
        " ",
        "\\text{ ",
        "%",
        "\\",
        "nan",
        "inf",
        "\0",
        "\ud800",
        "\n",
        "####",
        "-",
    ),
    *("²", "٣"),
)
HOSTILE = [
    *("x" * SIZE, "\\boxed{" * (SIZE // 7), "\\boxed{" * (SIZE // 7) + "\n}", "<answer>" * (SIZE // 8)),
    *("\\frac" * (SIZE // 5), "\\sqrt" * (SIZE // 5), "1" * SIZE, "=" * SIZE, "/" * SIZE),
    "\\boxed{" + "9" * SIZE + "}",
]


class TestAnyText:
    def test_of_marks_is_graded(self):
        draw = random.Random(0)
        for _ in range(2000):
            text, target = ("".join(draw.choices(MARKS, k=draw.randrange(12))) for _ in range(2))
            number, answer = d1.gsm8k_answer(text), d1.math500_answer(text)
            assert number is None or math.isnan(number) or number == number + 0
            assert answer is None or d1.math500_is_correct(answer, answer)
            assert d1.math500_is_correct(answer, target) in (True, False)
            d1.gsm8k_target(text)

    @pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
    def test_that_is_long_is_graded_like_any_other(self, text):
        assert d1.gsm8k_answer(text) in (None, math.inf)
        assert not d1.math500_is_correct(d1.math500_answer(text), "7")
        assert not d1.math500_is_correct(text, "7")
