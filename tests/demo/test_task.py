from pathlib import Path

import pytest
from lm_eval.tasks import TaskManager

from lm_eval_codd.demo import load_split

TASKS = Path(__file__).parents[2] / "tasks" / "demo"


@pytest.fixture(scope="module")
def task():
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    return manager.load(["codd_demo"])["tasks"]["codd_demo"]


class TestTask:
    def test_it_asks_the_300_held_out_questions(self, task):
        questions = [task.doc_to_text(doc) for doc in task.test_docs()]
        assert questions == [row["question"] for row in load_split("test")]
        assert len(questions) == 300

    def test_results_say_which_rows_they_are_of(self, task):
        data = task.config.metadata["data"]
        assert "synthetic" in data["source"]
        assert data["rows"] == 300
        assert data["is_published_set"]

    def test_the_worked_answers_score_one(self, task, score):
        assert score(task, [row["answer"] for row in load_split("test")]) == {
            "exact_match,strict-match": 1.0,
            "unreadable,strict-match": 0.0,
        }

    def test_a_wrong_or_missing_result_scores_nothing(self, task, score):
        result = int(load_split("test")[0]["answer"].split("#### ")[1])
        for answer, unreadable in ((f"First. #### {result + 1}", 0.0), (f"So it is {result}.", 1.0)):
            assert score(task, [answer], rows=[0]) == {
                "exact_match,strict-match": 0.0,
                "unreadable,strict-match": unreadable,
            }

    def test_nothing_stops_an_answer_early(self, task):
        assert task.config.generation_kwargs["until"] == []
