"""GSM8K and MATH as LLaDA's copy of OpenCompass asks and grades them."""

import pytest

from lm_eval_codd.grading import opencompass
from tests.tasks.opencompass_tasks import GSM8K, MATH, text_of


class TestGsm8k:
    @pytest.mark.parametrize(
        ("text", "last", "stated"),
        [
            ("So 3 + 4 = 7. The answer is 7", "7", "7"),
            ("The answer is: -2.50 dollars, of 9", "9", "-2.50"),
            ("THE ANSWER IS\n\n12.", "12", "12"),
            ("9 is left.\nQuestion: what is 3?\nThe answer is 3", "9", "3"),
            ("It is 1,040.", "040", "040"),
            ("The answer is $5", "5", "5"),
            ("Question: 7", None, None),
            ("none", None, None),
        ],
    )
    def test_answers_are_read_as_officially(self, text, last, stated):
        assert (opencompass.last_number(text), opencompass.stated_number(text)) == (last, stated)

    @pytest.mark.parametrize(
        ("answer", "gold", "is_right"),
        [("7", "7", True), ("7.0", "7", True), ("7.1", "7", False), (None, "7", False), ("7", "x", False)],
    )
    def test_numbers_are_compared_as_numbers(self, answer, gold, is_right):
        assert opencompass.is_number(answer, gold) is is_right

    @pytest.mark.parametrize("name", GSM8K)
    def test_gold_answers_are_right_and_others_wrong(self, load_task, score, invented_dir, name):
        task = load_task(name, invented_dir)
        gold = [f"Think.\nThe answer is {opencompass.gold_number(doc['answer'])}\n" for doc in task.eval_docs]
        assert score(task, gold) == {"accuracy,none": 1.0, "unreadable,none": 0.0}
        assert score(task, ["who knows"] * 3) == {"accuracy,none": 0.0, "unreadable,none": 1.0}
        assert score(task, ["The answer is 3.5"] * 3) == {"accuracy,none": 0.0, "unreadable,none": 0.0}

    @pytest.mark.parametrize("name", GSM8K)
    def test_all_gold_solutions_are_right(self, load_task, score, shared_dir, name):
        task = load_task(name, shared_dir / "data")
        assert task.config.metadata["data"]["is_published_set"]
        answers = [f"The answer is {doc['answer'].split('#### ')[1].replace(',', '')}" for doc in task.eval_docs]
        assert score(task, answers)["accuracy,none"] == 1.0


class TestMath:
    def test_is_one_turn_for_instruct_models(self, load_task, invented_dir):
        task = load_task("codd_math_llada", invented_dir)
        asked = (
            f"{task.eval_docs[1]['problem']}\nPlease reason step by step, and put your final answer within \\boxed{{}}."
        )
        task.build_all_requests()
        assert task.instances[1].args[0] == asked

    def test_has_examples_with_doubled_braces_for_base_models(self, load_task, invented_dir):
        task = load_task("codd_math_llada_base", invented_dir)
        text = text_of(task)
        assert text.startswith(
            "Problem:\nFind the domain of the expression $\\frac{{\\sqrt{{x-2}}}}{{\\sqrt{{5-x}}}}$.}}\n"
        )
        assert text.count("\nSolution:\n") == 5 and text.count("I hope it is correct.\n\nProblem:\n") == 4
        assert text.endswith(f"Problem:\n{task.eval_docs[0]['problem']}\nSolution:\n")

    @pytest.mark.parametrize("name", MATH)
    def test_gold_solutions_are_right_and_others_wrong(self, load_task, score, invented_dir, name):
        task = load_task(name, invented_dir)
        assert score(task, [doc["solution"] for doc in task.eval_docs]) == {
            "accuracy,none": 1.0,
            "unreadable,none": 0.0,
        }
        assert score(task, ["It is $\\boxed{6}$."] * 2) == {"accuracy,none": 0.0, "unreadable,none": 0.0}
        assert score(task, [""] * 2) == {"accuracy,none": 0.0, "unreadable,none": 1.0}

    def test_rows_are_those_of_seven_configurations_on_the_hub(self, load_task, monkeypatch):
        asked = []

        def load_dataset(path, name, split, revision):
            asked.append((path, name, split))
            return [{"problem": f"of {name}", "solution": "\\boxed{1}", "level": "Level 1"}] * 2

        monkeypatch.setattr("datasets.load_dataset", load_dataset)
        task = load_task("codd_math_llada", None)
        assert len(asked) == 7 and asked[0] == ("EleutherAI/hendrycks_math", "algebra", "test")
        assert [doc["problem"] for doc in task.eval_docs][1:3] == ["of algebra", "of counting_and_probability"]
        data = task.config.metadata["data"]
        assert data["source"] == "EleutherAI/hendrycks_math (7 configurations, test)"
        assert (data["rows"], data["expected_rows"], data["is_published_set"]) == (14, 5000, False)
