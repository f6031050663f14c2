"""d1's tasks: their prompts, the beginning of an answer, and scores, on invented rows and on the real ones."""

from functools import partial

import pytest

from lm_eval_codd.catalogue import TASKS
from tests.tasks.test_prompts import render, tokenizer_with_template

OF_MATH = ("gsm8k_d1", "math500_d1")
EXPERT = (
    "You are a math expert. You will be given a question to solve. Solve it step by step. Wrap the final answer in a "
    "\\boxed{{}}.{}\nRespond in the following format:\n<reasoning>\nYour reasoning here\n</reasoning>\n<answer>\n"
    "\\boxed{{...}}\n</answer>{}"
)
TURNS = {
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
    @pytest.mark.parametrize("name", OF_MATH)
    def test_are_one_turn_and_begin_the_answer(self, load_task, invented_dir, name):
        turn, begun = ({"role": "user", "content": TURNS[name]}, {"role": "assistant", "content": "<reasoning>"})
        assert messages(load_task(name, invented_dir)) == ([turn, begun], False)

    @pytest.mark.parametrize("name", OF_MATH)
    def test_are_rendered_as_by_their_code(self, load_task, invented_dir, shared_dir, name):
        """Theirs puts the mark behind the rendered turn."""
        tokenizer = tokenizer_with_template("llada", shared_dir / "data" / "tokenizers")
        task = load_task(name, invented_dir)
        task.build_all_requests(apply_chat_template=True, chat_template=partial(render, tokenizer))
        alone = render(tokenizer, [{"role": "user", "content": TURNS[name]}], add_generation_prompt=True)
        assert task.instances[0].args[0] == f"{alone}<reasoning>"

    @pytest.mark.parametrize("name", OF_MATH)
    def test_have_no_stop_strings_and_say_what_is_unverified(self, load_task, invented_dir, name):
        config = load_task(name, invented_dir).config
        assert config.generation_kwargs["until"] == []
        assert "copies of d1's evaluation code" in config.metadata["unverified"]


class TestScores:
    @pytest.mark.parametrize("name", OF_MATH)
    def test_of_gold_answers_are_one_and_of_nothing_zero(self, load_task, score, invented_dir, name):
        task = load_task(name, invented_dir)
        docs = list(task.eval_docs)
        right = score(task, [boxed(name, doc) for doc in docs])
        assert right == {"accuracy,none": 1.0, "unreadable,none": 0.0}
        assert score(task, ["\\boxed{"] * len(docs)) == {"accuracy,none": 0.0, "unreadable,none": 1.0}


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
