import random

import datasets
import pytest
from lm_eval.tasks._yaml_loader import load_yaml
from lm_eval.tasks.gpqa.generative import utils as stock

ROWS = [
    {
        "Question": f"{number}?",
        "Correct Answer": f"right {number}",
        **{f"Incorrect Answer {wrong}": f"wrong {number}.{wrong}" for wrong in (1, 2, 3)},
    }
    for number in range(50)
]


@pytest.fixture(scope="module")
def process_docs(tasks_dir):
    return load_yaml(tasks_dir / "gpqa" / "codd_gpqa.yaml")["process_docs"]


@pytest.fixture(scope="module")
def clean(process_docs):
    return process_docs.__globals__["clean"]


class TestShuffle:
    def test_order_is_that_of_the_stock_task_after_the_harness_seeded_with_zero(self, process_docs):
        random.seed(0)
        theirs = list(stock.process_docs(datasets.Dataset.from_list(ROWS)))
        ours = list(process_docs(datasets.Dataset.from_list(ROWS)))
        for column in ("choice1", "choice2", "choice3", "choice4", "choices", "answer"):
            assert [row[column] for row in ours] == [row[column] for row in theirs]

    def test_order_does_not_depend_on_the_global_generator_and_leaves_it_alone(self, process_docs):
        random.seed(5)
        before = random.getstate()
        first = list(process_docs(datasets.Dataset.from_list(ROWS)))
        assert random.getstate() == before
        random.seed(6)
        assert list(process_docs(datasets.Dataset.from_list(ROWS))) == first

    def test_the_answer_names_the_correct_choice_at_every_access(self, load_task, invented_dir):
        task = load_task("codd_gpqa", invented_dir)
        for _ in range(2):
            for doc in task.eval_docs:
                assert doc[f"choice{'ABCD'.index(doc['answer'][1]) + 1}"] == doc["Correct Answer"].strip()


class TestClean:
    @pytest.mark.parametrize(
        ("text", "cleaned"),
        [
            (" neon\n", "neon"),
            ("2 [two]", "2 "),
            ("a [title]b", "a. b"),
            ("iron  ore", "iron ore"),
            ("[x]\n[y", "\n[y"),
            (None, " "),
        ],
    )
    def test_is_version_2_0_of_the_stock_task(self, clean, text, cleaned):
        assert clean(text) == cleaned
