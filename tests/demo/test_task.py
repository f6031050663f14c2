from pathlib import Path

import pytest
from lm_eval.tasks import TaskManager

from lm_eval_codd.demo import load_split

TASKS = Path(__file__).parents[2] / "tasks" / "demo"


@pytest.fixture(scope="module")
def task():
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    return manager.load(["codd_demo"])["tasks"]["codd_demo"]


def score(task, answers):
    """The task's own filters and metric on these answers, one a problem, in order."""
    task.build_all_requests(limit=len(answers))
    for instance, answer in zip(task.instances, answers, strict=True):
        instance.resps = [answer]
    task.apply_filters()
    return [
        task.process_results(instance.doc, [instance.filtered_resps["strict-match"]])["exact_match"]
        for instance in task.instances
    ]


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

    def test_the_worked_answers_score_one(self, task):
        assert score(task, [row["answer"] for row in load_split("test")]) == [1.0] * 300

    def test_a_wrong_or_missing_result_scores_nothing(self, task):
        result = int(load_split("test")[0]["answer"].split("#### ")[1])
        wrong = [f"First. #### {result + 1}", f"So it is {result}."]
        for answer in wrong:
            assert score(task, [answer]) == [0.0]

    def test_nothing_stops_an_answer_early(self, task):
        assert task.config.generation_kwargs["until"] == []
