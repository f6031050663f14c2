"""d1's tasks: their prompts, the beginning of an answer, and scores, on invented rows and on the real ones."""

from functools import partial

import pytest

from lm_eval_codd.catalogue import TASKS
from lm_eval_codd.rows import DataError
from tests.tasks.test_prompts import render, tokenizer_with_template

OF_MATH = ("gsm8k_d1", "math500_d1")
PUZZLES = ("countdown_d1", "sudoku_d1")
EXPERT = (
    "You are a math expert. You will be given a question to solve. Solve it step by step. Wrap the final answer in a "
    "\\boxed{{}}.{}\nRespond in the following format:\n<reasoning>\nYour reasoning here\n</reasoning>\n<answer>\n"
    "\\boxed{{...}}\n</answer>{}"
)
REASONS = "<reasoning>\nYour {}\n</reasoning>\n<answer>\n{}\n</answer>"
TURNS = {
    "countdown_d1": "Using only the provided numbers, create an arithmetic expression that evaluates to exactly the "
    "provided target number. You may use the operations +, -, *, and / as needed, but each number must be used exactly "
    "once. Think step-by-step. After reasoning, provide only your final expression inside \\boxed{} tags without "
    "including an equals sign or the target number. For example: \\boxed{a + b * c}Respond in the following format:\n"
    + REASONS.format("reasoning here", "\\boxed{...}")
    + "\n\nNumbers: [3, 5, 20]\nTarget: 4",
    "sudoku_d1": "\nPlease solve the following 4x4 Sudoku puzzle. The puzzle is provided as a 16-character string "
    "reading left-to-right, top-to-bottom, where '0' represents empty cells.\n\nRules:\n"
    "- Fill empty cells with digits 1-4\n"
    "- Each row must contain digits 1-4 exactly once\n- Each column must contain digits 1-4 exactly once\n"
    "- Each 2x2 box must contain digits 1-4 exactly once\n\nImportant: Your solution must be a COMPLETE 16-character "
    "string with only the digits 1-4, representing your final solved grid.\n\nRespond in this exact format:\n"
    + REASONS.format("step-by-step solving process", "[16-character solution string with no spaces or separators]")
    + "\n\n\nSolve the following Sudoku puzzle: 1000341221400321\n",
    "gsm8k_d1": EXPERT.format(" ", "\n\nA shelf holds 3 boxes with 12 pens each. 7 pens are sold. How many are left?"),
    "math500_d1": EXPERT.format("", '" \n\n\nWhat is $\\frac{3}{4} + \\frac{1}{2}$?'),
}


def messages(task):
    """What its first row hands to the chat template, and whether that opens the answer."""
    seen = []

    def record(messages, add_generation_prompt):
        seen.append((messages, add_generation_prompt))
        return ""

    task.build_all_requests(apply_chat_template=True, chat_template=record)
    return seen[0]


def boxed(name, doc):
    gold = doc["answer"].split("#### ")[-1].replace(",", "") if name == "gsm8k_d1" else doc["answer"]
    return f"\nSo it is.\n</reasoning>\n<answer>\n\\boxed{{{gold}}}\n</answer>"


class TestPrompts:
    @pytest.mark.parametrize("name", [*OF_MATH, *PUZZLES])
    def test_are_one_turn_and_begin_the_answer(self, load_task, invented_dir, name):
        turn, begun = ({"role": "user", "content": TURNS[name]}, {"role": "assistant", "content": "<reasoning>"})
        assert messages(load_task(name, invented_dir)) == ([turn, begun], False)

    @pytest.mark.parametrize("name", [*OF_MATH, *PUZZLES])
    def test_are_rendered_as_by_their_code(self, load_task, invented_dir, shared_dir, name):
        """Theirs puts the mark behind the rendered turn."""
        tokenizer = tokenizer_with_template("llada", shared_dir / "data" / "tokenizers")
        task = load_task(name, invented_dir)
        task.build_all_requests(apply_chat_template=True, chat_template=partial(render, tokenizer))
        alone = render(tokenizer, [{"role": "user", "content": TURNS[name]}], add_generation_prompt=True)
        assert task.instances[0].args[0] == f"{alone}<reasoning>"

    @pytest.mark.parametrize("name", [*OF_MATH, *PUZZLES])
    def test_have_no_stop_strings_and_say_what_is_unverified(self, load_task, invented_dir, name):
        config = load_task(name, invented_dir).config
        assert config.generation_kwargs["until"] == []
        assert "read from copies of d1's" in config.metadata["unverified"]


class TestScores:
    @pytest.mark.parametrize("name", OF_MATH)
    def test_of_gold_answers_are_one_and_of_nothing_zero(self, load_task, score, invented_dir, name):
        task = load_task(name, invented_dir)
        docs = list(task.eval_docs)
        right = score(task, [boxed(name, doc) for doc in docs])
        assert right == {"accuracy,none": 1.0, "unreadable,none": 0.0}
        assert score(task, ["\\boxed{"] * len(docs)) == {"accuracy,none": 0.0, "unreadable,none": 1.0}

    def test_of_countdown_are_what_the_expression_comes_to(self, load_task, score, invented_dir):
        task = load_task("countdown_d1", invented_dir)
        assert score(task, ["\\boxed{20 / 5}", "\\boxed{7 + 2 \\times 2}"])["accuracy,none"] == 0.5
        assert score(task, ["\\boxed{20 - 5}", "no"]) == {"accuracy,none": 0.0, "unreadable,none": 0.5}

    def test_of_sudoku_are_shares_of_the_empty_cells(self, load_task, score, invented_dir):
        task = load_task("sudoku_d1", invented_dir)
        solved = [f"<answer>\n{doc['Solution']}\n</answer>" for doc in task.eval_docs]
        assert score(task, solved) == {"accuracy,none": 1.0, "unreadable,none": 0.0}
        assert [doc["Puzzle"].count("0") for doc in task.eval_docs] == [5, 1]
        assert score(task, ["<answer>2234", "<answer>2234"])["accuracy,none"] == pytest.approx((3 / 5 + 0) / 2)


class TestRows:
    """Neither is on a hub."""

    @pytest.mark.parametrize(
        ("name", "what"), [("countdown_d1", "countdown_cd3_test.jsonl"), ("sudoku_d1", "4x4_test_sudoku.csv")]
    )
    def test_say_in_one_line_which_file_of_which_repository_they_are(self, load_task, tmp_path, name, what):
        for folder in (None, tmp_path):
            with pytest.raises(
                DataError, match=rf"{name}: .*put dataset/{what} of github.com/dllm-reasoning/d1"
            ) as caught:
                load_task(name, folder)
            assert "\n" not in str(caught.value) and "hub to read" not in str(caught.value)

    def test_of_sudoku_are_drawn_as_by_d1(self, load_task, tmp_path):
        (tmp_path / "sudoku").mkdir()
        rows = ["Puzzle,Solution", *(f"{number:016d},1234341243212143" for number in range(500))]
        (tmp_path / "sudoku" / "4x4_test_sudoku.csv").write_text("\n".join(rows))
        task = load_task("sudoku_d1", tmp_path)
        drawn = [int(doc["Puzzle"]) for doc in task.eval_docs]
        assert len(set(drawn)) == 256 and drawn[:4] == [361, 73, 374, 155]
        assert task.config.metadata["data"]["is_published_set"]


class TestRealRows:
    @pytest.mark.parametrize("name", OF_MATH)
    def test_are_the_published_ones(self, load_task, shared_dir, name):
        data = load_task(name, shared_dir / "data").config.metadata["data"]
        assert (data["is_published_set"], data["rows"]) == (True, TASKS[name].rows)

    def test_a_negative_answer_of_gsm8k_is_wrong_in_any_case(self, load_task, score, shared_dir):
        task = load_task("gsm8k_d1", shared_dir / "data")
        docs = list(task.eval_docs)
        negative = [row for row, doc in enumerate(docs) if "#### -" in doc["answer"]]
        assert len(negative) == 2
        rows = [0, 1, 2, *negative]
        assert score(task, [boxed("gsm8k_d1", docs[row]) for row in rows], rows)["accuracy,none"] == 3 / 5

    def test_gold_solutions_of_math500_are_right(self, load_task, score, shared_dir):
        task = load_task("math500_d1", shared_dir / "data")
        rows = range(0, 500, 10)
        answers = [task.eval_docs[row]["solution"] for row in rows]
        assert score(task, answers, list(rows))["accuracy,none"] == 1.0
