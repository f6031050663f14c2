import json
import random

import datasets
import pytest
from lm_eval.tasks import TaskManager
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


def written(folder, **choices):
    """A data folder with one row of these choices, and one of others."""
    (folder / "gpqa").mkdir()
    rows = [{**ROWS[0], **choices}, ROWS[1]]
    (folder / "gpqa" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


HEPTANES = {
    "Correct Answer": "bicyclo[2.2.1]heptane",
    "Incorrect Answer 1": "bicyclo[3.2.0]heptane",
    "Incorrect Answer 2": "bicyclo[4.1.0]heptane",
}


class TestEqualChoices:
    def test_of_the_cleaning_are_counted_and_warned_of(self, load_task, tmp_path, caplog):
        task = load_task("codd_gpqa", written(tmp_path, **HEPTANES))
        assert task.config.metadata["rows_with_equal_choices"] == 1
        assert "two choices read the same in 1 of 2 rows (first: row 0)" in caplog.text
        assert "clean=off" in caplog.text

    def test_are_not_there_where_it_is_off(self, tasks_dir, monkeypatch, tmp_path, caplog):
        monkeypatch.setenv("CODD_DATA_DIR", str(written(tmp_path, **HEPTANES)))
        manager = TaskManager(include_defaults=False, include_path=str(tasks_dir), metadata={"clean": "off"})
        task = manager.load(["codd_gpqa"])["tasks"]["codd_gpqa"]
        assert (task.config.metadata["clean"], task.config.metadata["rows_with_equal_choices"]) == ("off", 0)
        assert "read the same" not in caplog.text
        doc = task.eval_docs[0]
        assert doc[f"choice{'ABCD'.index(doc['answer'][1]) + 1}"] == "bicyclo[2.2.1]heptane"

    def test_another_word_for_off_is_refused(self, tasks_dir, monkeypatch, invented_dir):
        monkeypatch.setenv("CODD_DATA_DIR", str(invented_dir))
        manager = TaskManager(include_defaults=False, include_path=str(tasks_dir), metadata={"clean": "no"})
        with pytest.raises(ValueError, match="`--metadata clean=no` is not one of paper, off"):
            manager.load(["codd_gpqa"])


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
