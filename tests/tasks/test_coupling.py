"""The tasks of dependent tokens: their files, the catalogue, and scores through lm-eval."""

import pytest

from lm_eval_codd.catalogue import COUPLING_CONTROL, COUPLING_JOINT, GROUPS, TASKS, task_name
from lm_eval_codd.coupling_tasks.items import NUM_TEST_ITEMS
from lm_eval_codd.coupling_tasks.registry import COUPLED_TASKS
from lm_eval_codd.task_files import read_task_file

SHORT = (*COUPLING_JOINT, *COUPLING_CONTROL)


class TestCatalogue:
    def test_has_every_task_of_the_generator_in_its_group(self):
        assert [f"coupling_{name}" for name in COUPLED_TASKS] == list(SHORT)
        assert [f"coupling_{name}" for name, task in COUPLED_TASKS.items() if task.is_joint] == list(COUPLING_JOINT)

    @pytest.mark.parametrize("short", SHORT)
    def test_says_what_the_task_files_say(self, tasks_dir, short):
        config = read_task_file(tasks_dir / "coupling" / f"codd_{short}.yaml")
        assert config["task"] == task_name(short)
        assert config["dataset_kwargs"]["rows"] == TASKS[short].rows == NUM_TEST_ITEMS
        assert config["generation_kwargs"]["max_gen_toks"] == TASKS[short].gen_length
        assert config["metadata"]["reported"] == "correct,none"

    @pytest.mark.parametrize("group", GROUPS)
    def test_has_the_groups_of_the_files(self, task_manager, tasks_dir, group):
        assert read_task_file(tasks_dir / "coupling" / f"codd_{group}.yaml")["group"] == f"codd_{group}"
        loaded = task_manager.load([f"codd_{group}"])["tasks"]  # lm-eval 0.5 puts the group before the name
        assert [name.rpartition("::")[2] for name in loaded] == [task_name(short) for short in GROUPS[group]]


@pytest.mark.parametrize("short", SHORT)
class TestTask:
    def test_rows_are_those_of_every_machine(self, load_task, tmp_path, short):
        data = load_task(task_name(short), tmp_path).config.metadata["data"]
        assert data["sha256"] == data["expected_sha256"]
        assert data["is_published_set"]

    def test_right_answers_score_one_and_others_nothing(self, load_task, score, tmp_path, short):
        task = load_task(task_name(short), tmp_path)
        docs = list(task.eval_docs)
        named = {f"{one['metric']},none" for one in task.config.metric_list}
        right = score(task, [f" {doc['answer']}\n\nList:" for doc in docs])
        assert right == {name: float(name != "unreadable,none") for name in named}
        assert score(task, [""] * len(docs)) == {name: float(name == "unreadable,none") for name in named}
        # The answer to the next row, which no right answer to this one equals.
        shifted = [doc["answer"] for doc in [*docs[1:], docs[0]]]
        assert score(task, shifted)["correct,none"] == 0.0
        assert score(task, shifted)["unreadable,none"] == 0.0
