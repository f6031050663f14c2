"""WINO's tasks: their prompts, the beginning of an answer, and scores, on invented rows and on the real ones."""

import pytest

from lm_eval_codd.grading import wino
from tests.tasks.test_d1 import TURNS, boxed, messages

ARC = ("arc_easy_wino", "arc_challenge_wino")
ASKED = (
    "You will be given a multiple choice question and a list of options. You need to first reason step by step, and "
    "then select the correct option (A, B, C, D). Wrap the single letter of the correct option in \\boxed{...}.\n"
    "Respond in the following format:\n<reasoning>\nYour reasoning here\n</reasoning>\n<answer>\n\\boxed{...}\n"
    "</answer>\n\n\nWhich of these is a liquid at room temperature?\nA. iron\nB. water\nC. salt\nD. wood"
)
BEGUN = {"role": "assistant", "content": "<reasoning>"}


class TestPrompts:
    def test_of_gsm8k_are_d1s(self, load_task, invented_dir):
        turn = {"role": "user", "content": TURNS["gsm8k_d1"]}
        assert messages(load_task("gsm8k_wino", invented_dir)) == ([turn, BEGUN], False)

    @pytest.mark.parametrize("name", ARC)
    def test_of_arc_are_one_turn_and_begin_the_answer(self, load_task, invented_dir, name):
        turn = {"role": "user", "content": ASKED}
        assert messages(load_task(name, invented_dir)) == ([turn, BEGUN], False)

    @pytest.mark.parametrize("name", ["gsm8k_wino", *ARC])
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
