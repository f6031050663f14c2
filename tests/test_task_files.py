import functools
from pathlib import Path

import pytest

from lm_eval_codd import task_files as module
from lm_eval_codd.registration import tasks_dir
from lm_eval_codd.task_files import TaskFiles, asks_for_no_text, likelihoods_asked, task_files

OWN = {
    "base_yaml": "tag: of_mine\noutput_type: generate_until\nnum_fewshot: 3\n",
    "one.yaml": "include: base_yaml\ntask: one # the first\ndoc_to_text: !function utils.text\ntag:\n  - many\n",
    "two.yaml": 'include: base_yaml\n"task": "two"\n"tag": [many, others]\noutput_type: multiple_choice\n',
    "both.yaml": "group: both\ntask:\n  - one\n  - two\n",
    "class.yaml": "group: not_this\ntask: of_a_class\nclass: !function task.Own\n",
    "broken.yaml": "task: broken\n  : [\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in OWN.items():
        (tmp_path / name).write_text(text)
    return tmp_path


class TestNames:
    def test_are_those_of_tasks_groups_and_tags(self, folder):
        assert set(TaskFiles(folder).names) == {
            *("one", "two", "both", "of_a_class", "broken"),
            *("of_mine", "many", "others"),
        }

    def test_may_be_patterns_and_files(self, folder):
        files = TaskFiles(folder)
        assert files.has("one") and files.has("o*") and files.has(str(folder / "one.yaml"))
        assert not files.has("on") and not files.has("x*") and not files.has(str(folder / "none.yaml"))

    def test_are_those_of_lm_evals_own_index(self):
        from lm_eval.tasks import TaskManager

        # Where the package is installed its own tasks are in lm-eval's index too.
        own = set(TaskFiles(tasks_dir()).names)
        index, found = ({*names} - own for names in (TaskManager().all_tasks, task_files().names))
        assert not index - found
        # A tag that only a file without tasks names, and the like: never a name that a user would take for another.
        assert len(found - index) < 10

    def test_have_this_packages_own_and_their_groups(self):
        assert {"codd_gsm8k", "codd_crb", "codd_crb_1", "codd_crb_mbpp_var_5"} <= set(task_files().names)
        assert len(list(task_files().configs("codd_crb"))) == 60


class TestContent:
    def test_of_a_task_has_what_it_includes_and_its_own_wins(self, folder):
        ((name, config),) = TaskFiles(folder).configs("two")
        assert (name, config["num_fewshot"], config["output_type"]) == ("two", 3, "multiple_choice")

    @pytest.mark.parametrize("name", ["both", "many"])
    def test_of_a_group_or_a_tag_is_that_of_its_tasks(self, folder, name):
        assert [name for name, _ in TaskFiles(folder).configs(name)] == ["one", "two"]

    def test_of_a_group_written_out_inside_of_another_is_that_of_its_tasks(self, folder):
        (folder / "outer.yaml").write_text("group: outer\ntask:\n  - group: inner\n    task: [one]\n  - two\n")
        assert [name for name, _ in TaskFiles(folder).configs("outer")] == ["one", "two"]

    def test_of_a_group_in_itself_ends(self, folder):
        (folder / "ring.yaml").write_text("group: ring\ntask: [ring2, one]\n")
        (folder / "ring2.yaml").write_text("group: ring2\ntask: [ring]\n")
        assert {name for name, _ in TaskFiles(folder).configs("ring")} == {"one"}

    def test_of_a_file_that_cannot_be_read_is_nothing(self, folder):
        assert list(TaskFiles(folder).configs("broken")) == [("broken", {})]


class TestWhatATaskAsksFor:
    @pytest.fixture
    def read(self, monkeypatch):
        """The folders whose names are read, in order; nothing is known of any before."""
        folders = []
        names = module._read_names
        monkeypatch.setattr(module, "_read_names", lambda folder: folders.append(folder) or names(folder))
        for function in (module.task_files, module._files_in, module._output_types):
            monkeypatch.setattr(module, function.__name__, functools.cache(function.__wrapped__))
        return folders

    def test_is_read_without_lm_evals_folder_where_the_task_is_ours_or_the_users(self, folder, read):
        assert not asks_for_no_text("codd_gsm8k") and not asks_for_no_text("codd_gsm8k", str(tasks_dir()))
        assert asks_for_no_text("two", str(folder)) and not asks_for_no_text("one", str(folder))
        assert {*read} == {tasks_dir(), folder}

    def test_of_lm_evals_own_and_of_a_group_is_read_from_all(self, folder, read, monkeypatch, tmp_path_factory):
        stock = tmp_path_factory.mktemp("stock")
        monkeypatch.setattr(module, "stock_tasks_dir", lambda: stock)
        (stock / "theirs.yaml").write_text("task: theirs\noutput_type: loglikelihood\n")
        (stock / "mine.yaml").write_text("task: codd_gsm8k\noutput_type: multiple_choice\n")
        (folder / "mixed.yaml").write_text("group: mixed\ntask: [two, theirs]\n")
        (folder / "codd_gsm8k.yaml").write_text("group: codd_mbpp\ntask: [two]\n")
        assert asks_for_no_text("theirs", str(folder)) and not asks_for_no_text("theirs_not", str(folder))
        assert likelihoods_asked("mixed", str(folder)) == {"multiple_choice", "loglikelihood"}
        assert asks_for_no_text("mixed", str(folder))
        # The nearest folder wins: a group of the user's over our task, our task over lm-eval's.
        assert asks_for_no_text("codd_mbpp", str(folder)) and not asks_for_no_text("codd_mbpp")
        assert not asks_for_no_text("codd_gsm8k")

    def test_is_what_the_index_of_all_folders_says(self):
        for name in sorted(TaskFiles(tasks_dir()).names)[::9]:
            kinds = {str(config.get("output_type")) for _, config in task_files().configs(name)}
            assert module._output_types(name, None) == kinds
