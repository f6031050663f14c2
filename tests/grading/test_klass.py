"""KLASS's graders on cases worked out by reading its code, and that no text makes them raise or hang."""

import random

import pytest

from lm_eval_codd.grading import klass
from lm_eval_codd.grading.klass_math import candidates

SIZE = 50_000
SEVERAL = "Find all roots, separated by commas."
FORM = "Write it in the form $y = ax + b$."


class TestGSM8K:
    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            ("The final answer is 18.", "18"),
            ("The final answer is $1,250.00 for 3.", "1250"),  # the first number behind it
            ("The answer is 3. No, the answer is -4", "-4"),  # the last "answer is"
            ("3 of 12, so 4.50 are left.", "4.5"),  # without one the last number
            ("The final answer is \\boxed{18}.", "18"),
            ("The final answer is \\boxed{1,250}.", "1"),  # in a box digits are not grouped
            ("The final answer is \\boxed{5.}.", "5."),  # and stay as they are written
            ("The final answer is \\boxed{5.0}.", "5.0"),
            ("The final answer is \\boxed{\\text{x, y}}", "\\text{x y"),  # and may be none
            ("\\boxed{7} so the answer is 8", "8"),  # the box is before it
            ("\\boxed{} \\boxed{7} of 9", "7"),  # an empty box is none
            ("\\boxed{7 of 9", "9"),
            ("The final answer is unknown.", ""),
            ("", ""),
        ],
    )
    def test_answers(self, text, answer):
        assert klass.gsm8k_answer(text) == answer

    @pytest.mark.parametrize(
        ("solution", "target"),
        [("so 5.\n#### 1,450,000", "1450000"), ("#### -10", "-10"), ("#### 2.50", "2.5"), ("5", "")],
    )
    def test_targets(self, solution, target):
        assert klass.gsm8k_target(solution) == target


class TestMATH:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("Thus \\boxed{\\frac12}.", {"\\frac{1}{2}", "0.5"}),
            ("\\boxed{3} or \\boxed{4}", {"3", "4"}),  # any box
            ("\\boxed{3}. The final answer is 5", {"3"}),  # which goes before "answer is"
            ("The final answer is $-\\dfrac{3}{4}$. Done", {"-\\frac{3}{4}", "-0.75"}),
            ("The final answer is 2 or 3.", {"2", "3"}),
            ("The final answer is 3.5.\nMore", {"3.5"}),
            ("First 3, then 1,234 in all", {"1234"}),  # else the last word with a digit
            ("no number", {"number"}),  # else all of it, the last of its words
            ("\\boxed{x = 7}", {"7"}),
            ("\\boxed{42 square meters}", {"42"}),
            ("\\boxed{\\text{(B)}}", {"B"}),
            ("\\boxed{\\text{isosceles}}", {"osceles}"}),  # "is" cuts it
            ("\\boxed{90^\\circ}", {"90"}),
            ("\\boxed{10\\%}", {"10"}),
            ("\\boxed{(1,2)}", {"(1,2)"}),
            ("\\boxed{1,234,567}", {"1234567"}),
            ("\\boxed{3.0}", {"3"}),
            ("\\boxed{1/2}", {"\\frac{1}{2}", "0.5"}),
            ("\\boxed{\\sqrt2/3}", {"\\frac{\\sqrt{2}}{3}"}),
            ("\\boxed{2\\text{ and }3}", {"2", "3"}),
            ("\\boxed{5\\text{ cm}}", {"5"}),
            ("\\boxed{.5}", {"0.5"}),
            ("\\boxed{\\tan x}", {"\\tan{x}"}),
            ("\\boxed{(-inf, 2j]}", {"(-\\infty,2j]"}),  # an i is in it already
            ("\\boxed{**7**}", {"7"}),
            ("\\boxed{\\frac{1}{0}}", {"\\frac{1}{0}"}),
            ("\\boxed{7", set()),
        ],
    )
    def test_candidates(self, text, found):
        assert candidates("What is it?", text) == found

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("\\boxed{1, -2}", [{"1", "-2"}]),
            ("\\boxed{(3),[4]}", [{"3", "4"}]),
            ("\\boxed{\\frac{1}{2}, 3}", [{"\\frac{1}{2}", "3"}, {"0.5", "3"}]),
        ],
    )
    def test_values_separated_by_commas_are_a_set(self, text, found):
        assert candidates(SEVERAL, text) == {frozenset(values) for values in found}

    def test_what_is_before_an_equals_sign_stays_where_a_form_is_asked_for(self):
        assert candidates(FORM, "\\boxed{y = 2x + 3}") == {"y=2x+3"}
        assert candidates("What is it?", "\\boxed{y = 2x + 3}") == {"2x+3"}


class TestCode:
    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("Here:\n```python\ndef f():\n    pass\n```\n```\nb\n```", "def f():\n    pass"),
            ("```\n    a = 1\n", "a = 1"),  # not closed, and without its indentation
            ("    return 1\n", "return 1"),
            ("```py\na\n```\nb", "b"),  # a fence that is closed opens the next
        ],
    )
    def test_of_humaneval(self, text, code):
        assert klass.humaneval_code(text) == code

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("a ```python\nb\n``` ```python\nc\n```", "\nb\n"),
            ("```python\nopen only", "```python\nopen only"),
            ("```\nb\n```", "```\nb\n```"),
        ],
    )
    def test_of_mbpp(self, text, code):
        assert klass.mbpp_code(text) == code

    @pytest.mark.filterwarnings("ignore:assertion is always true")
    def test_an_assertion_with_a_message_is_always_true(self):
        exec(klass.mbpp_tests(["assert 1 == 2, 'a message'", "assert 2 == 2", " 3 "]))
        with pytest.raises(AssertionError):
            exec(klass.mbpp_tests(["assert 2 == 2", "assert 1 == 2"]))


MARKS = (
    *(
        "boxed{",
        "\\boxed{",
        "{",
        "}",
        "}",
        "$",
        "answer is",
        "\\frac",
        "\\sqrt",
        "\\tan ",
        "/",
        "=",
        "1",
        "3",
        ",",
        ".",
    ),
    *("234", " ", "\n", "\\text{", "\\text{and}", "%", "\\", "is", "(A)", "**", "\\(", "\\)", " or ", ". ", "\\mbox{"),
    *(
        "°",
        ".0",
        "{cm}^2",
        "p.m.",
        "t",
        "inf",
        "j",
        "i",
        "word",
        "####",
        "\\frac{1}{0}",
        "\0",
        "\ud800",
        "²",
        "٣",
        "```",
    ),
)
HOSTILE = [
    *("x" * SIZE, "\\boxed{" * (SIZE // 7), "\\boxed{}" * (SIZE // 8), "\\(" * (SIZE // 2), "*" * SIZE, "9" * SIZE),
    *(
        "\\(" * (SIZE // 2) + "\n\\)",
        "\\text{" * (SIZE // 6),
        "\\mbox{" * (SIZE // 6),
        "\\frac" * (SIZE // 5),
        "/" * SIZE,
    ),
    *("," * SIZE + "x", ".0" * (SIZE // 2), "1" * SIZE + "x", "\\sqrt " * (SIZE // 6), "is" * (SIZE // 2), "a " * SIZE),
    *(
        "1 " * SIZE + "x",
        "```python\n" * (SIZE // 10),
        "```" * (SIZE // 3),
        "=" * SIZE,
        "(1" * (SIZE // 2),
        "1" + " " * SIZE,
    ),
    *("\\frac{" + "9" * SIZE + "}{2}", "\\frac{" + "9" * 400 + "}{2}", "\\tan" + " " * SIZE + "?", "(" + "1" * SIZE),
]


class TestAnyText:
    def test_of_marks_is_graded(self):
        draw = random.Random(0)
        for _ in range(2000):
            text = "".join(draw.choices(MARKS, k=draw.randrange(12)))
            for question in ("", SEVERAL, FORM):
                for answer in (text, f"\\boxed{{{text}}}", f"The final answer is {text}"):
                    assert isinstance(candidates(question, answer), frozenset)
            klass.gsm8k_answer(text), klass.gsm8k_target(text), klass.humaneval_code(text), klass.mbpp_code(text)

    @pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
    def test_that_is_long_is_graded_like_any_other(self, text):
        for question in ("", SEVERAL):
            for answer in (text, f"\\boxed{{{text}}}", f"The final answer is {text}"):
                assert "7" not in candidates(question, answer)
        assert klass.gsm8k_answer(text) != "7"
        klass.gsm8k_target(f"#### {text}"), klass.humaneval_code(text), klass.mbpp_code(text)
