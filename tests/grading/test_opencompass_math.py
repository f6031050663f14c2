"""OpenCompass's grader of MATH; the cases follow from reading its code, against which 160,000 random pairs agreed."""

import json

import pytest

from lm_eval_codd.grading.opencompass_math import boxed, is_equal, math_answer, verified


class TestAnswers:
    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            (r"So \boxed{1}, no, \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
            (r"So $\boxed{{5}}$.", "5"),
            (r"\boxed{} is empty. The final answer is $7$. Yes.", "7"),
            (r"\boxed{1", r"\boxed{1"),  # not closed, and then read as a sentence
            (r"It is \fbox{3}", r"Itis\fbox{3}"),
            ("Hm. The answer is: 4 dollars. Or 5.", "4"),
            ("42 apples. Or 5.", "42apples"),
            (r"a \frac34", r"\frac{3}{4}"),
            ("", ""),
        ],
    )
    def test_are_read_from_a_box_or_a_sentence(self, text, answer):
        assert math_answer(text) == answer

    @pytest.mark.parametrize(
        ("text", "inside"),
        [(r"\boxed{a{b}c} d", "a{b}c"), (r"\boxed 5", None), (r"\fbox{3}", None), ("5", None), (r"\boxed{a}}", "a")],
    )
    def test_boxes_are_closed_by_their_own_brace(self, text, inside):
        assert boxed(text) == inside


class TestEquality:
    @pytest.mark.parametrize(
        ("answer", "gold"),
        [
            ("5 square feet", "5"),
            (r"1,\!000", "1000"),
            (r"\frac12", r"\frac{1}{2}"),
            (r"\dfrac{1}{2}", r"\frac{1}{2}"),
            ("1/2", r"\frac{1}{2}"),
            (r"\text{(A)}", "A"),
            (r"12\text{ cm}", "12"),
            ("x = 5", "5"),
            (r"10^\circ", "10"),
            ("3.00", "3"),
            (".5", "0.5"),
            ("3j", "3i"),
            (r"\sqrt2", r"\sqrt{2}"),
            (r"\left(1,2\right)", "(1,2)"),
            ("infinity", r"\infty"),
            ("x/2", "x/2"),
            ("50%", r"50\%"),
        ],
    )
    def test_holds_up_to_form(self, answer, gold):
        assert is_equal(answer, gold)

    @pytest.mark.parametrize(
        ("answer", "gold"), [("3", "4"), ("0.50", "0.5"), ("0.5", r"\frac{1}{2}"), ("xy = 5", "5"), ("5", None)]
    )
    def test_does_not_hold_by_value(self, answer, gold):
        assert not is_equal(answer, gold)

    def test_holds_of_every_gold_solution(self, shared_dir):
        rows = [json.loads(line) for line in (shared_dir / "data" / "math500" / "test.jsonl").open()]
        assert all(is_equal(math_answer(row["solution"]), boxed(row["solution"])) for row in rows)


class TestMathVerify:
    @pytest.mark.parametrize(
        ("text", "gold", "verdict"),
        [
            (
                r"so $\boxed{[2,5)}$. Final Answer: The final answer is $[2,5)$. I hope it is correct.",
                "[2,5)",
                (True, True),
            ),
            ("The final answer is $0.5$.", r"\frac{1}{2}", (True, True)),
            ("The final answer is $3$.", "4", (False, True)),
            ("It is 4", "4", (False, False)),  # a bare number is none to it
            ("", "4", (False, False)),
        ],
    )
    def test_looks_for_boxes_and_latex_alone(self, text, gold, verdict):
        assert verified(text, gold) == verdict
