"""WINO's tasks: their prompts, the beginning of an answer, and scores, on invented rows and on the real ones."""

import pytest

from lm_eval_codd.grading import wino
from lm_eval_codd.rows import DataError
from tests.tasks.test_d1 import TURNS, boxed, messages

ARC = ("arc_easy_wino", "arc_challenge_wino")
ASKED = (
    "You will be given a multiple choice question and a list of options. You need to first reason step by step, and "
    "then select the correct option (A, B, C, D). Wrap the single letter of the correct option in \\boxed{...}.\n"
    "Respond in the following format:\n<reasoning>\nYour reasoning here\n</reasoning>\n<answer>\n\\boxed{...}\n"
    "</answer>\n\n\nWhich of these is a liquid at room temperature?\nA. iron\nB. water\nC. salt\nD. wood"
)
BEGUN = {"role": "assistant", "content": "<reasoning>"}
ALL = ("gsm8k_wino", *ARC, "mbpp_wino", "sudoku_wino")
GRID, PUZZLE = "1234341221434321", "1000341221400321"


class TestPrompts:
    def test_of_gsm8k_are_d1s(self, load_task, invented_dir):
        turn = {"role": "user", "content": TURNS["gsm8k_d1"]}
        assert messages(load_task("gsm8k_wino", invented_dir)) == ([turn, BEGUN], False)

    @pytest.mark.parametrize("name", ARC)
    def test_of_arc_are_one_turn_and_begin_the_answer(self, load_task, invented_dir, name):
        turn = {"role": "user", "content": ASKED}
        assert messages(load_task(name, invented_dir)) == ([turn, BEGUN], False)

    def test_of_mbpp_open_a_block_behind_the_turn(self, load_task, invented_dir):
        asked, begun = messages(load_task("mbpp_wino", invented_dir))[0]
        assert asked["content"] == (
            "You are an expert Python programmer. Please write a python function to solve the following problem:\n"
            ">>> Problem:\nWrite a function to double a number.\n>>> Test Cases:\nassert double(2) == 4\n"
            "assert double(-1) == -2\nassert double(0) == 0\n"
        )
        assert begun["content"] == ">>> Code:\n```python\n"

    def test_of_sudoku_have_four_examples_and_the_puzzle(self, load_task, invented_dir):
        asked, begun = messages(load_task("sudoku_wino", invented_dir))[0]
        assert asked["content"].count("\nPuzzle: ") == asked["content"].count("\nAnswer: ") == 4
        assert asked["content"].endswith("</answer>\n\n\nSolve the following Sudoku puzzle: 0234341221434321\n")
        assert begun == BEGUN

    @pytest.mark.parametrize("name", ALL)
    def test_have_no_stop_strings_and_say_what_is_unverified(self, load_task, invented_dir, name):
        config = load_task(name, invented_dir).config
        assert config.generation_kwargs["until"] == []
        assert "a copy of WINO's evaluation code" in config.metadata["unverified"]

    @pytest.mark.parametrize(
        ("name", "configuration"), [("arc_easy_wino", "ARC-Easy"), ("arc_challenge_wino", "ARC-Challenge")]
    )
    def test_rows_of_arc_are_those_of_the_test_split(self, load_task, monkeypatch, name, configuration):
        asked = []

        def load_dataset(path, name, split, revision):
            asked.append((path, name, split))
            choices = {"text": ["x", "y"], "label": ["A", "B"]}
            return [{"id": "1", "question": "?", "choices": choices, "answerKey": "A"}]

        monkeypatch.setattr("datasets.load_dataset", load_dataset)
        load_task(name, None)
        assert asked == [("allenai/ai2_arc", configuration, "test")]


class TestGsm8k:
    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            ("So it is \\boxed{18}.", 18.0),
            ("\\boxed{1,000}", 1000.0),  # digits in groups
            ("\\boxed{3 + 4 = 7}", 7.0),  # the last of a box
            ("\\boxed{1} and \\boxed{2}", 2.0),  # a line's box reaches to its last brace
            ("\\boxed{1}\n\\boxed{2}", 1.0),  # the first line that has one
            ("\\boxed{...} and 5", 5.0),  # a box without a number is passed over
            ("\\boxed{-4}", -4.0),
            ("\\boxed{+4}", 4.0),
            ("\\boxed{18", 18.0),
            ("1,234.5 or 12,34", 34.0),
            ("costs $.50", 0.5),
            ("is 5.", 5.0),
            ("007", 7.0),
            ("none", None),
            ("", None),
        ],
    )
    def test_answers(self, text, answer):
        assert wino.gsm8k_answer(text) == answer

    @pytest.mark.parametrize(
        ("answer", "gold", "is_right"), [(7.0, 7.0, True), (7.000001, 7.0, True), (7.1, 7.0, False), (None, 7.0, False)]
    )
    def test_numbers_are_compared_up_to_rounding(self, answer, gold, is_right):
        assert wino.is_number(answer, gold) is is_right

    def test_gold_answers_are_right_and_nothing_is_wrong(self, load_task, score, invented_dir):
        task = load_task("gsm8k_wino", invented_dir)
        docs = list(task.eval_docs)
        right = score(task, [boxed("gsm8k_d1", doc) for doc in docs])
        assert right == {"accuracy,none": 1.0, "unreadable,none": 0.0}
        assert score(task, ["\\boxed{"] * len(docs)) == {"accuracy,none": 0.0, "unreadable,none": 1.0}

    def test_all_gold_solutions_are_right(self, load_task, score, shared_dir):
        task = load_task("gsm8k_wino", shared_dir / "data")
        assert task.config.metadata["data"]["is_published_set"]
        assert score(task, [doc["answer"] for doc in task.eval_docs])["accuracy,none"] == 1.0


class TestArc:
    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            ("x </reasoning>\n<answer>\n\\boxed{B}\n</answer>", "B"),
            ("\\boxed{A} no, \\boxed{c}", "C"),  # the last box
            ("<answer>D</answer>", "D"),
            ("<answer>\nIt is\nB. water\n</answer>", "B"),  # up to a full stop
            ("\\boxed{B. water}", "B"),
            ("\\boxed{(B)}", None),
            ("\\boxed{\\text{B}}", None),
            ("\\boxed{1}", None),  # labels that are numbers
            ("The answer is B", None),
            ("water", "WATER"),
            ("", None),
        ],
    )
    def test_answers(self, text, answer):
        assert wino.letter(text) == answer

    @pytest.mark.parametrize("name", ARC)
    def test_a_gold_letter_is_right_and_a_gold_number_never(self, load_task, score, invented_dir, name):
        task = load_task(name, invented_dir)
        gold = [f"<answer>\\boxed{{{doc['answerKey']}}}</answer>" for doc in task.eval_docs]
        assert score(task, gold) == {"accuracy,none": 0.5, "unreadable,none": 0.5}
        assert score(task, ["\\boxed{A}"] * 2) == {"accuracy,none": 0.0, "unreadable,none": 0.0}


class TestMbpp:
    TEST = "assert double(2) == 4"

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("def double(x):\n    return 2 * x\n```\nIt doubles.", "def double(x):\n    return 2 * x"),
            ("import math\ndef double(x):\n    return 2 * x\n```", "def double(x):\n    return 2 * x"),  # no imports
            ("def a():\n    pass\ndef double (x):\n    a()\n```", "def double (x):\n    a()"),
            ("def double(x):\n    return 2 * x", "    ```python\n    def double(x):\n        return 2 * x"),  # no fence
            (
                "def doubled(x):\n    return 2 * x\n```",
                "    ```python\n    def doubled(x):\n        return 2 * x\n    ```",
            ),
        ],
    )
    def test_what_runs(self, text, code):
        assert wino.mbpp_code(text, self.TEST) == code

    def test_reference_solutions_pass_and_nothing_does_not(self, load_task, score, invented_dir):
        task = load_task("mbpp_wino", invented_dir)
        code = task.eval_docs[0]["code"].replace("\r", "")
        right = score(task, [f"{code}\n```"], [0])
        assert right == {"pass_at_1,extract_code": 1.0, "unreadable,extract_code": 0.0}
        assert score(task, [code], [0]) == {"pass_at_1,extract_code": 0.0, "unreadable,extract_code": 1.0}

    def test_how_a_head_is_written_hides_a_function(self, load_task, shared_dir):
        """A blank behind the colon does, and so do a blank before it and a body on the same line."""
        task = load_task("mbpp_wino", shared_dir / "data")
        assert task.config.metadata["data"]["is_published_set"]
        found = 0
        for doc in task.eval_docs:
            code = "\n".join(line.rstrip() for line in doc["code"].splitlines())
            found += wino.mbpp_code(f"{code}\n```", doc["test_list"][0]).startswith("def")
        assert found == 480


class TestSudoku:
    @pytest.mark.parametrize(
        ("text", "grid"),
        [
            (f"<answer>\n{GRID}\n</answer>", GRID),
            ("<answer>1234 3412\n2143 4321</answer>", GRID),  # blanks
            (f"<answer>the grid\n```\n{GRID}\n```", GRID),
            (f"It is {GRID}.", GRID),
            (f"</answer> {GRID}", GRID),
            ("<answer>12</answer>", "12".ljust(16, "0")),
            (f"<answer>{GRID}99</answer>", GRID),
            ("<answer>a grid</answer>", "agrid".ljust(16, "0")),
            ("1234", ""),
            ("", ""),
        ],
    )
    def test_answers(self, text, grid):
        assert wino.sudoku_answer(text) == grid

    @pytest.mark.parametrize(("answer", "right"), [(GRID, 5), (PUZZLE, 0), ("1234".ljust(16, "0"), 3), ("", 0)])
    def test_cells_that_were_given_do_not_count(self, answer, right):
        assert wino.sudoku_cells(answer, PUZZLE, GRID) == (right, 5)

    def test_all_empty_cells_weigh_the_same(self, load_task, score, invented_dir):
        task = load_task("sudoku_wino", invented_dir)
        assert [doc["Puzzle"] for doc in task.eval_docs] == ["0234341221434321", PUZZLE]
        assert score(task, [GRID, GRID]) == {"cell_accuracy,none": 1.0, "unreadable,none": 0.0}
        assert score(task, [GRID, "none"])["cell_accuracy,none"] == pytest.approx(1 / 6)
        assert score(task, ["none", f"<answer>{GRID}</answer>"])["cell_accuracy,none"] == pytest.approx(5 / 6)

    def test_its_error_is_that_of_a_ratio_of_sums(self, load_task, invented_dir):
        error = load_task("sudoku_wino", invented_dir).aggregation()["cell_accuracy_stderr"]
        assert error([(1, 1), (5, 5)]) == 0.0
        # The residuals are 1 - 1 / 6 and 0 - 5 / 6.
        assert error([(1, 1), (0, 5)]) == pytest.approx((2 * 2 * (5 / 6) ** 2) ** 0.5 / 6)


class TestRowsThatNoHubHas:
    def test_are_asked_for_in_one_line(self, load_task, tmp_path):
        asked = r"put dataset/4x4_test_sudoku.csv of github.com/dllm-reasoning/d1"
        with pytest.raises(DataError, match=rf"its rows are on no hub; {asked} into a folder as sudoku/4x4_test"):
            load_task("sudoku_wino", None)
        with pytest.raises(DataError, match=rf"no file .*; {asked} there"):
            load_task("sudoku_wino", tmp_path)

    def test_are_told_from_the_published_ones_by_their_number(self, load_task, invented_dir):
        assert not load_task("sudoku_wino", invented_dir).config.metadata["data"]["is_published_set"]

    def test_are_text_though_they_are_digits(self, load_task, invented_dir):
        docs = load_task("sudoku_wino", invented_dir).eval_docs
        assert all(isinstance(value, str) and len(value) == 16 for doc in docs for value in doc.values())

    def test_are_refused_where_they_are_no_table_in_utf_8(self, load_task, tmp_path):
        (tmp_path / "sudoku").mkdir()
        (tmp_path / "sudoku" / "4x4_test_sudoku.csv").write_bytes(b"Puzzle,Solution\n\xff,1\n")
        with pytest.raises(DataError, match=r"4x4_test_sudoku.csv is no table in UTF-8: .*; copy the file again"):
            load_task("sudoku_wino", tmp_path)

    @pytest.mark.parametrize("row", ["0123", "0123,4123,1", '"01'])
    def test_are_refused_where_a_row_has_more_or_fewer_fields(self, load_task, tmp_path, row):
        (tmp_path / "sudoku").mkdir()
        (tmp_path / "sudoku" / "4x4_test_sudoku.csv").write_text(f"Puzzle,Solution\n0123,4123\n\n{row}\n")
        said = r"4x4_test_sudoku.csv, line 4 has not as many fields as its heading; copy the file again$"
        with pytest.raises(DataError, match=said):
            load_task("sudoku_wino", tmp_path)
