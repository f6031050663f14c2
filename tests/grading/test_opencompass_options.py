"""OpenCompass's first option; the cases follow from reading its code, with which 60,000 random texts agreed."""

import pytest

from lm_eval_codd.grading.opencompass_options import first_option


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A", "A"),
        ("  C. Because of it", "C"),
        ("The answer is (B), since it is so", "B"),
        ("The answer is (B), not A.", "A"),  # a letter at the end comes before it
        ("The answer is **D**", "D"),
        ("The correct answer is option B: x", "B"),
        ("ANSWER : C", "C"),
        ("The correct answer is $\\boxed{C}$", "C"),
        ("It must be D.", "D"),
        ("Choose B, or A", "A"),
        ("ABC", "A"),
        ("Maybe C: or B: then", "C"),  # the first with a colon
        ("Because of B then", "B"),  # the first capital among the letters, wherever
        ("ANSWER", "A"),
        ("答案是：C", "C"),  # noqa: RUF001
        ("故选B", "B"),
        ("E, of course", None),
        ("none", None),
        ("", None),
    ],
)
def test_is_found_as_officially(text, letter):
    assert first_option(text, "ABCD") == letter


def test_letters_are_those_of_the_choices():
    assert first_option("The answer is E", "ABCDE") == "E"
