"""Prompt templates: the stock one against golden/tasks/stock_prompts.json, variants against what they say they are."""

import json

import pytest
from lm_eval.tasks import TaskManager

from lm_eval_codd import templates
from lm_eval_codd.catalogue import COUPLING_CONTROL, COUPLING_JOINT, task_name
from lm_eval_codd.templates import check_template, templates_of, under_template

TASKS = ("codd_gsm8k", "codd_math500", "codd_gpqa", "codd_mbpp", "codd_humaneval")
VARIANTS = ("wording", "marker", "newlines")
# What every question about dependent tokens says of the form of its answer.
SAID = "Write the answer alone, on one line."


@pytest.fixture
def load(tasks_dir, invented_dir, monkeypatch):
    """A function (name, template or None) -> task."""

    def load_one(name, template):
        monkeypatch.setenv("CODD_DATA_DIR", str(invented_dir))
        metadata = {} if template is None else {"template": template}
        manager = TaskManager(include_defaults=False, include_path=str(tasks_dir), metadata=metadata)
        return manager.load([name])["tasks"][name]

    return load_one


def messages(task):
    seen = []
    task.build_all_requests(apply_chat_template=True, chat_template=lambda given, **_: seen.append(given) or "")
    return seen


@pytest.mark.parametrize("name", TASKS)
class TestATask:
    def test_has_the_papers_the_stock_one_and_three_variants(self, name):
        assert list(templates_of(name)) == ["paper", "stock", *VARIANTS]
        assert all(templates_of(name).values())

    def test_is_asked_as_in_the_paper_by_default(self, load, name):
        usual, named = load(name, None), load(name, "paper")
        assert messages(usual) == messages(named)
        assert usual.config.metadata["template"] == named.config.metadata["template"] == "paper"

    def test_is_asked_as_by_lm_eval_under_stock(self, load, golden_dir, name):
        """The golden has the paper's prompt as lm-eval's system instruction: without it lm-eval asks like this."""
        golden = json.loads((golden_dir / "tasks" / "stock_prompts.json").read_text())[name]
        wanted = [row["messages"] for row in golden["prompts"]]
        papers = {
            "codd_gpqa": "You are a helpful assistant. Justify your final answer by first explaining your step-by-step "
            "derivation or reasoning. Conclude by presenting the final answer in the format: (LETTER).\n\n"
        }.get(name)
        stock = [
            [{**row[0], "content": row[0]["content"].removeprefix(papers)}, *row[1:]] if papers else row[1:]
            for row in wanted
        ]
        assert all(rest != whole for rest, whole in zip(stock, wanted, strict=True))
        assert messages(load(name, "stock")) == stock

    @pytest.mark.parametrize("template", VARIANTS)
    def test_asks_for_the_same_in_another_way(self, load, name, template):
        usual, task = load(name, None), load(name, template)
        assert task.config.metadata["template"] == template
        assert all(a != b for a, b in zip(messages(usual), messages(task), strict=True))
        # How answers are read and which rows there are is never part of a template.
        for part in ("filter_list", "generation_kwargs", "process_results", "metric_list", "repeats", "doc_to_target"):
            assert str(getattr(task.config, part)) == str(getattr(usual.config, part))
        assert [*map(dict, task.eval_docs)] == [*map(dict, usual.eval_docs)]

    def test_newlines_are_two_more_and_nothing_else(self, load, name):
        def text(template):
            return "".join(message["content"] for row in messages(load(name, template)) for message in row)

        usual, more = text(None), text("newlines")
        assert usual.replace("\n", "") == more.replace("\n", "")
        assert more.count("\n") - usual.count("\n") == 2 * len(messages(load(name, None)))

    def test_refuses_a_template_that_it_does_not_have(self, load, name):
        with pytest.raises(ValueError, match=r"no such template; use one of paper, stock, wording, marker, newlines"):
            load(name, "v9")


def test_the_demo_has_three_in_words_of_its_own(load):
    from lm_eval_codd.backbones.tokenizer import load_tokenizer

    assert list(templates_of("codd_demo")) == ["paper", "wording", "marker"]
    tokenizer = load_tokenizer("demo", "llada")
    for name in templates_of("codd_demo"):
        ids = tokenizer.encode(messages(load("codd_demo", name))[0][-1]["content"], add_special_tokens=False)
        assert tokenizer.unk_token_id not in ids


COUPLING = [task_name(name) for name in (*COUPLING_JOINT, *COUPLING_CONTROL)]


@pytest.mark.parametrize("name", COUPLING)
class TestDependentTokens:
    def test_are_asked_for_in_four_ways_that_differ_as_they_say(self, load, name):
        assert list(templates_of(name)) == ["paper", *VARIANTS]
        usual, *others = (self.prompts(load(name, template)) for template in templates_of(name))
        wording, marker, newlines = others
        assert len({*usual, *wording, *marker, *newlines}) == 4 * len(usual)
        assert [text.replace("Write one line with the answer alone.", SAID) for text in wording] == usual
        assert [text.replace("Answer:\n", "Answer: ").rstrip(" ") for text in marker] == usual
        assert [text.replace(f"{SAID}\n\n", SAID) for text in newlines] == usual
        assert all(text.endswith("\nAnswer:\n") and text.count("Answer:\n") == 3 for text in marker)

    def test_have_a_right_answer_that_stays_right(self, load, score, name):
        for template in templates_of(name):
            task = load(name, template)
            answers = [doc["answer"] for doc in task.eval_docs]
            assert score(task, answers)["correct,none"] == 1.0

    def prompts(self, task):
        return [task.doc_to_text(doc) for doc in task.eval_docs]


def test_dependent_tokens_are_asked_for_in_words_that_the_demos_model_knows(load):
    from lm_eval_codd.backbones.tokenizer import load_tokenizer

    tokenizer = load_tokenizer("demo_coupling", "llada")
    for name in COUPLING:
        task = load(name, "wording")
        ids = tokenizer.encode(task.doc_to_text(task.eval_docs[0]), add_special_tokens=False)
        assert tokenizer.unk_token_id not in ids


def test_a_task_without_templates_says_so(load):
    assert templates_of("codd_mmlu_llada") == {}
    with pytest.raises(ValueError, match=r"`--metadata template=stock`: codd_mmlu_llada has no templates beside"):
        load("codd_mmlu_llada", "stock")
    assert "template" not in load("codd_mmlu_llada", None).config.metadata


@pytest.mark.parametrize("task", ["gsm8k", "gsm8k_cot", "humaneval_instruct", "coupling"])
def test_lm_evals_own_tasks_have_none(task):
    with pytest.raises(ValueError, match=f"--template wording: {task} has no templates beside `paper`"):
        check_template(task, "wording", "--template wording")


def test_no_description_is_cut_off_by_a_comment(tasks_dir):
    for path in tasks_dir.glob("*/templates.yaml"):
        for line in path.read_text().splitlines():
            assert line.startswith("#") or " #" not in line or line.partition(": ")[2].startswith('"'), (path, line)


def test_a_template_that_changes_how_answers_are_read_is_none(tmp_path, monkeypatch):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "templates.yaml").write_text("v1: {what: an easier grader, process_results: x}\n")
    monkeypatch.setattr(templates, "tasks_dir", lambda: tmp_path)
    with pytest.raises(ValueError, match="`v1` replaces process_results; it may replace"):
        under_template({"task": "codd_odd"}, "v1")
