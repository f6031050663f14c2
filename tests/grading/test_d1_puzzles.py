"""d1's graders of Countdown and Sudoku on cases worked out by reading its code, and that no text makes them raise."""

import random

import pytest

from lm_eval_codd.grading import d1_puzzles as puzzles

SIZE = 50_000
PUZZLE, SOLUTION = "1004340043211000", "1234341243212143"


class TestCountdown:
    @pytest.mark.parametrize(
        ("text", "expression"),
        [
            ("So \\boxed{3 + 5} and \\boxed{20 / 5}", "20 / 5"),  # the last box
            ("\\boxed{20 \\div 5 \\times 3 \\cdot 1}", "20 / 5 * 3 * 1"),
            ("\\boxed{20 / 5 = 4}", "20 / 5"),
            ("We have x= 4 and 20 - 5 = 15 at last", "20 - 5"),  # the first with a value, of a text without a box
            ("We have x = 4 and 20 - 5 = 15 at last", ""),  # and a blank is an expression
            ("<answer> 3 + 5 </answer>", "<answer> 3 + 5 </answer>"),  # marks alone are no place
            ("\\boxed{3 <answer> 5 + 3 </answer>", "5 + 3"),  # but for a box that is not closed
            ("\\boxed{3 + 5", "\\boxed{3 + 5"),
            ("", ""),
        ],
    )
    def test_expressions(self, text, expression):
        assert puzzles.countdown_expression(text) == expression

    @pytest.mark.parametrize(
        ("expression", "is_correct"),
        [
            ("20 / 5", False),  # each number once
            ("20 / 5 + 3 - 3", False),
            ("(20 - 5) / 3", True),
            ("(20 - 5) // 3", True),
            ("-3 + 20 - 5", False),
            ("5 ** (20 - 3)", False),
            ("(20-5)/ 3\n", True),
            ("(20 - 5) : 3", False),
            ("(20 - 5) / 3 x", False),
            ("(20)(5)(3)", False),
            ("20 5 3", False),
            ("20 / (5 - 5 + 3 - 3)", False),
            ("(3.20)5", False),
        ],
    )
    def test_right_ones_have_each_number_once_and_come_to_the_target(self, expression, is_correct):
        assert puzzles.countdown_is_correct(expression, [3, 5, 20], 5) is is_correct

    def test_what_cannot_be_worked_out_is_wrong(self):
        assert not puzzles.countdown_is_correct("1 / (2 - 2)", [1, 2, 2], 1)
        assert not puzzles.countdown_is_correct("99 ** 98 ** 97", [97, 98, 99], 1)
        assert puzzles.countdown_is_correct("1 ** (98 ** 97)", [97, 98, 1], 1) in (True, False)
        assert not puzzles.countdown_is_correct("(" * SIZE + "1", [1], 1)
        assert not puzzles.countdown_is_correct("-" * SIZE + "1", [1], 2)


class TestSudoku:
    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            (f"</reasoning>\n<answer>\n{SOLUTION}\n</answer>", SOLUTION),
            ("<answer>\n1234 3412\n4321 2143\n</answer>", SOLUTION),
            (f"<answer> it is\n```\n{SOLUTION}\n``` </answer>", SOLUTION),  # digits in a fence go first
            ("<answer>[solution]</answer>", "[solution]"),
            (f"<answer>{SOLUTION}", SOLUTION),  # the end of the text is its end token
            (f"<answer></answer> {SOLUTION}", SOLUTION),
            (f"so </answer>\n{SOLUTION}", SOLUTION),
            (f"It is {SOLUTION}\n</answer>", SOLUTION),
            (f"It is {SOLUTION}, surely", SOLUTION),
            (f"It is {SOLUTION}1", ""),
            ("nothing", ""),
        ],
    )
    def test_answers(self, text, answer):
        assert puzzles.sudoku_answer(text) == answer

    @pytest.mark.parametrize(
        ("answer", "share"),
        [
            (SOLUTION, 1.0),
            (f"{SOLUTION}99", 1.0),
            (PUZZLE, 0.0),
            (SOLUTION[:4], 2 / 7),
            ("", 0.0),
            (f"9{SOLUTION[1:]}", 1.0),  # a cell that was given does not count
        ],
    )
    def test_the_share_is_of_the_empty_cells(self, answer, share):
        assert puzzles.sudoku_share(answer, PUZZLE, SOLUTION) == pytest.approx(share)


MARKS = (
    *("\\boxed{", "\\boxed ", "}", "<answer>", "</answer>", "=", "1", "12", " ", "+", "-", "**", "//", "(", ")", "."),
    *("\\div", "x", "\n", "$", "```", "1234341243212143", "\0", "\ud800", "²", "٣"),
)
HOSTILE = [
    *(
        "<answer>" * (SIZE // 8),
        "</answer>" * (SIZE // 9),
        "```" * (SIZE // 3),
        "```" + " " * SIZE,
        "1" * SIZE,
        "=" * SIZE,
    ),
    *(
        "1=" * (SIZE // 2),
        "1" * SIZE + "=",
        "(" * SIZE,
        "\\boxed{" * (SIZE // 7),
        "1 " * SIZE,
        "9**" * (SIZE // 3) + "9",
    ),
]


class TestAnyText:
    def test_of_marks_is_graded(self):
        draw = random.Random(0)
        for _ in range(3000):
            text = "".join(draw.choices(MARKS, k=draw.randrange(12)))
            expression = puzzles.countdown_expression(text)
            assert puzzles.countdown_is_correct(expression, [1, 12], 13) in (True, False)
            assert 0.0 <= puzzles.sudoku_share(puzzles.sudoku_answer(text), PUZZLE, SOLUTION) <= 1.0

    @pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
    def test_that_is_long_is_graded_like_any_other(self, text):
        for answer in (text, f"\\boxed{{{text}}}"):
            assert not puzzles.countdown_is_correct(puzzles.countdown_expression(answer), [1, 12], 13)
        puzzles.sudoku_answer(text), puzzles.sudoku_answer(f"<answer>{text}")
