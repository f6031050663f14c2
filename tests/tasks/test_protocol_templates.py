"""Templates of tasks with other papers' protocols: each changes the question, its examples alike, and nothing else."""

import functools
import re
from fnmatch import fnmatch
from pathlib import Path

import lm_eval.tasks
import pytest
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from lm_eval_codd import templates
from lm_eval_codd.catalogue import PAPER_TASKS, TASKS, task_name
from lm_eval_codd.templates import check_template, templates_of, under_template

VARIANTS = ("wording", "marker", "newlines")
OWN = (*PAPER_TASKS, "humaneval", "demo")
TASKS_OF_OTHERS = [
    task_name(name)
    for name in TASKS
    if name not in OWN and not name.startswith("coupling") and templates_of(task_name(name))
]
# Files of lm-eval's own tasks, below its folder of tasks; a question that is a Python function there is left out.
STOCK = {
    "codd_gsm8k_llada": "gsm8k/gsm8k.yaml",
    "gsm8k_klass": "gsm8k/gsm8k.yaml",
    "gsm8k_wino": "gsm8k/gsm8k.yaml",
    "codd_arc_llada": "arc/arc_challenge_chat.yaml",
    "mmlu_dllm_llada": "mmlu/generative/_default_template_yaml",
    "codd_humaneval_10": "humaneval/humaneval_instruct.yaml",
    "codd_humaneval_dream": "humaneval/humaneval_instruct.yaml",
    "mbpp_dllm_dream": "mbpp/mbpp_instruct.yaml",
    "mbpp_wino": "mbpp/mbpp_instruct.yaml",
}


@pytest.fixture(scope="module")
def manager(tasks_dir):
    """A function template -> lm-eval's manager of this project's tasks under it; indexing them takes long."""

    @functools.cache
    def under(template):
        metadata = {"template": template}
        return TaskManager(include_defaults=False, include_path=str(tasks_dir), metadata=metadata)

    return under


@pytest.fixture
def load(manager, invented_dir, monkeypatch):
    """A function (name, template) -> task."""
    monkeypatch.setenv("CODD_DATA_DIR", str(invented_dir))
    return lambda name, template: manager(template).load([name])["tasks"][name]


def messages(task):
    seen = []
    task.build_all_requests(apply_chat_template=True, chat_template=lambda given, **_: seen.append(given) or "")
    return seen


def text_of(conversation):
    return "".join(message["content"] for message in conversation)


@pytest.mark.parametrize("name", TASKS_OF_OTHERS)
class TestATask:
    def test_has_three_variants_at_least(self, name):
        names = list(templates_of(name))
        assert names[0] == "paper"
        assert set(VARIANTS) <= set(names) <= {"paper", "stock", "no_system", *VARIANTS}

    def test_asks_for_the_same_in_as_many_ways_as_it_has_templates(self, load, name):
        usual = load(name, "paper")
        asked = {"paper": messages(usual)}
        for template in list(templates_of(name))[1:]:
            task = load(name, template)
            asked[template] = messages(task)
            assert task.config.metadata["template"] == template
            for part in ("filter_list", "generation_kwargs", "process_results", "metric_list", "doc_to_target"):
                assert str(getattr(task.config, part)) == str(getattr(usual.config, part))
            assert [*map(dict, task.eval_docs)] == [*map(dict, usual.eval_docs)]
        for conversations in zip(*asked.values(), strict=True):
            assert len(set(map(text_of, conversations))) == len(asked)
            assert all(text_of(one) for one in conversations)

    def test_newlines_are_two_more_a_question_and_nothing_else(self, load, name):
        for usual, more in zip(messages(load(name, "paper")), messages(load(name, "newlines")), strict=True):
            questions = sum(message["role"] == "user" for message in usual)
            assert text_of(usual).replace("\n", "") == text_of(more).replace("\n", "")
            assert text_of(more).count("\n") - text_of(usual).count("\n") == 2 * questions


@pytest.mark.parametrize(("name", "file"), STOCK.items())
def test_stock_asks_as_lm_eval_does(load, name, file):
    theirs = load_yaml(Path(lm_eval.tasks.__file__).parent / file, resolve_func=False)
    task = load(name, "stock")
    own = task.config.doc_to_text
    if name == "codd_arc_llada":  # whose rows have four choices
        theirs["doc_to_text"] = re.sub(r"\{% (if|endif).*?%\}", "", theirs["doc_to_text"])
    assert own.replace("{{ prompt }}", "{{prompt}}") == theirs["doc_to_text"].replace("{{ prompt }}", "{{prompt}}")
    prefix = (task.config.gen_prefix or "").replace("{{ prompt }}", "{{prompt}}")
    assert prefix == theirs.get("gen_prefix", "").replace("{{ prompt }}", "{{prompt}}")
    assert not task.config.description or name == "mmlu_dllm_llada"


def test_every_task_with_lm_evals_own_question_is_compared_with_it():
    having = {name for name in TASKS_OF_OTHERS if "stock" in templates_of(name)}
    assert having == set(ANSWERS)
    # Minerva's question is a Python function in lm-eval.
    assert having - set(STOCK) == {"codd_math_llada", "math500_klass"}


# By a task that has lm-eval's own question, an answer to it as a function of a row.
ANSWERS = {
    **dict.fromkeys(("codd_gsm8k_llada", "gsm8k_klass", "gsm8k_wino"), lambda doc: doc["answer"]),
    **dict.fromkeys(("codd_math_llada", "math500_klass"), lambda doc: doc["solution"]),
    # Bodies that go on with the function's head, up to the end of the open block.
    **dict.fromkeys(("codd_humaneval_10", "codd_humaneval_dream"), lambda doc: f"{doc['canonical_solution']}```"),
    "mbpp_dllm_dream": lambda doc: doc["code"].replace("\r", ""),  # the fence is its stop string
    "mbpp_wino": lambda doc: doc["code"].replace("\r", "") + "\n```",
    "codd_arc_llada": lambda doc: f" {doc['answer']}.",
    "mmlu_dllm_llada": lambda doc: "ABCD"[doc["answer"]],
}


@pytest.mark.parametrize(("name", "answer"), ANSWERS.items())
def test_answers_to_lm_evals_own_question_are_read_by_the_protocols_grader(load, score, name, answer):
    task = load(name, "stock")
    reported, kind = task.config.metadata["reported"].split(",")
    answers = [answer(doc) for doc in task.eval_docs for _ in range(task.config.repeats)]
    scores = score(task, answers)
    assert scores[f"unreadable,{kind}"] == 0.0
    assert scores[f"{reported},{kind}"] > 0.0


class TestEdits:
    def test_change_examples_as_they_change_the_question(self, load):
        usual, other = messages(load("codd_gsm8k_llada", "paper"))[0], messages(load("codd_gsm8k_llada", "marker"))[0]
        assert [one["role"] for one in other] == ["user", "assistant"] * 4 + ["user"]
        for before, after in zip(usual, other, strict=True):
            if before["role"] == "user":
                assert before["content"].removesuffix("Answer:") + "Solution:" == after["content"]
            else:
                assert before == after

    def test_that_find_no_place_are_refused(self, tmp_path, monkeypatch):
        self.with_templates(tmp_path, monkeypatch, "misplaced", 'v1: {what: odd, doc_to_text: {"Q:": "R:"}}\n')
        with pytest.raises(ValueError, match="codd_misplaced, template v1: `doc_to_text` has no 'Q:'"):
            under_template({"task": "codd_misplaced", "doc_to_text": "Question: {{question}}"}, "v1")

    def test_a_new_question_above_examples_in_the_old_form_is_refused(self, tmp_path, monkeypatch):
        self.with_templates(tmp_path, monkeypatch, "unlike", 'v1: {what: odd, doc_to_text: "{{question}}"}\n')
        examples = {"samples": [{"question": "Question: 1 + 1?", "answer": "2"}]}
        with pytest.raises(ValueError, match="an example would be asked in the old way"):
            under_template({"task": "codd_unlike", "doc_to_text": "x", "fewshot_config": examples}, "v1")

    def test_templates_of_another_task_are_taken_over_but_for_own_ones(self, tmp_path, monkeypatch):
        self.with_templates(
            tmp_path, monkeypatch, "odd", 'a: {what: one, gen_prefix: "1"}\nb: {what: two, gen_prefix: "2"}'
        )
        self.with_templates(tmp_path, monkeypatch, "even", 'like: odd\nb: {what: three, gen_prefix: "3"}\n')
        assert templates_of("codd_even") == {"paper": "the task as it is", "a": "one", "b": "three"}
        assert under_template({"task": "codd_even"}, "a")["gen_prefix"] == "1"
        assert under_template({"task": "codd_even"}, "b")["gen_prefix"] == "3"

    def with_templates(self, tmp_path, monkeypatch, folder, text):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "templates.yaml").write_text(text)
        monkeypatch.setattr(templates, "tasks_dir", lambda: tmp_path)


@pytest.mark.parametrize(
    ("task", "advice"),
    [
        ("gsm8k", "one of codd_gsm8k, codd_gsm8k_llada, gsm8k_cd4lm, gsm8k_d1, gsm8k_klass, gsm8k_wino"),
        ("codd_math_llada_base", "one of codd_math_llada"),
        ("dlm_ppl_owt", "one of codd_math500, codd_gsm8k, codd_gpqa, codd_mbpp (tasks/README.md, Templates, names "),
    ],
)
def test_a_task_without_templates_names_tasks_that_have_some(task, advice):
    said = f"--template v1: {task} has no templates beside `paper`; leave it out, or use {advice}"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        check_template(task, "v1", "--template v1")


def test_tasks_readme_says_which_templates_each_task_has(tasks_dir):
    section = (tasks_dir / "README.md").read_text().partition("\n## Templates\n")[2].partition("\n## ")[0]
    lines = section.partition("|---|---|\n")[2].partition("\n\n")[0].splitlines()
    listed = [[re.findall(r"`([^`]+)`", part) for part in line.strip("| ").split(" | ")] for line in lines]
    most = listed[0][1]
    for name in map(task_name, TASKS):
        # A name goes before a pattern.
        found = [said for patterns, said in listed if name in patterns] or [
            said for patterns, said in listed if any(fnmatch(name, pattern) for pattern in patterns)
        ]
        assert len(found) == 1, name
        said = [*most, *found[0]] if found[0] == ["no_system"] else found[0]
        assert set(said) == set(templates_of(name)) - {"paper"}, name


def test_tasks_readme_finds_every_task_by_its_benchmark(tasks_dir):
    section = (tasks_dir / "README.md").read_text().partition("\n## Find a task\n")[2].partition("\n## ")[0]
    listed = re.findall(r"`([^`]+)`", section.partition("|---|---|\n")[2].partition("\n\n")[0])
    for name in map(task_name, TASKS):
        assert sum(fnmatch(name, pattern) for pattern in listed) == 1, name
    for pattern in listed:
        known = any(fnmatch(name, pattern) for name in map(task_name, TASKS))
        assert known or any(tasks_dir.rglob(f"{pattern}.yaml")), pattern
