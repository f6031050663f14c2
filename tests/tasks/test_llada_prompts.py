"""How LLaDA's copy of OpenCompass asks: rounds of examples, joined for base models, and what stops an answer."""

import json
from hashlib import sha256

import pytest

from lm_eval_codd.task_files import read_task_file
from tests.tasks.opencompass_tasks import CHOICES, CODE, GSM8K, MATH, OFFICIAL, messages_of, text_of

STOPS = {"codd_math_llada_base": ["Problem:"], "codd_mbpp_llada_base": ["[DONE]"]}
ASKED = "Question: {question}\nLet's think step by step\nAnswer:"


class TestRounds:
    @pytest.mark.parametrize("given", [{}, {"fewshot_as_multiturn": True}])
    def test_are_turns_under_a_chat_template_whatever_lm_eval_does_with_examples(self, load_task, invented_dir, given):
        task = load_task("codd_gsm8k_llada", invented_dir)
        messages = messages_of(task, **given)
        assert [role for role, _ in messages] == [*(("user", "assistant") * 4), "user"]
        assert messages[-1][1] == ASKED.format(**task.eval_docs[0])
        assert messages[6][1].startswith("Question: A group of 4 fruit baskets contains 9 apples")
        assert messages[7][1].endswith("The four baskets together have 32+114=146 fruits.\nThe answer is 146\n")

    def test_are_joined_by_line_breaks_without(self, load_task, invented_dir):
        task = load_task("codd_gsm8k_llada_base", invented_dir)
        text = text_of(task)
        assert text == "\n".join(content for _, content in messages_of(task))
        assert text.count("Let's think step by step\nAnswer:\n") == 4
        assert text.endswith(f"The answer is 146\n\n{ASKED.format(**task.eval_docs[0])}")

    def test_have_a_system_prompt_before_them_where_one_is_given(self, load_task, invented_dir):
        messages = messages_of(load_task("codd_gsm8k_llada", invented_dir), system_instruction="Be brief.")
        assert messages[0] == ("system", "Be brief.") and len(messages) == 10

    def test_are_there_whatever_the_command_line_says_of_examples(self, load_task, invented_dir):
        assert load_task("codd_gsm8k_llada", invented_dir).config.num_fewshot == 0


class TestOfficialPrompts:
    """golden/tasks/opencompass_prompts.json: first rows as OpenCompass 0.5.0's configurations and parsers show them."""

    @pytest.fixture
    def golden(self, golden_dir):
        return json.loads((golden_dir / "tasks" / "opencompass_prompts.json").read_text())

    @pytest.mark.parametrize("name", OFFICIAL)
    def test_are_shown(self, load_task, choices_dir, invented_dir, golden, name):
        task = load_task(name, choices_dir if name in CHOICES else invented_dir)
        if name.endswith("base"):
            assert text_of(task) == golden[name]
        else:
            assert [list(message) for message in messages_of(task)] == golden[name]

    def test_of_all_parts_of_bbh_are_shown(self, load_task, golden, tmp_path):
        parts = golden["codd_bbh_llada_base"]
        (tmp_path / "bbh").mkdir()
        rows = [{"part": part, "input": "asked?", "target": "x"} for part in parts]
        (tmp_path / "bbh" / "test.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        task = load_task("codd_bbh_llada_base", tmp_path)
        task.build_all_requests()
        shown = {one.doc["part"]: sha256(one.args[0].encode()).hexdigest() for one in task.instances}
        assert shown == parts and len(parts) == 27


@pytest.mark.parametrize("name", [*GSM8K, *MATH, "codd_gpqa_llada", *CODE, *CHOICES, "codd_bbh_llada_base"])
def test_nothing_stops_an_answer_but_what_the_evaluation_code_names(tasks_dir, name):
    path = tasks_dir / name.removeprefix("codd_") / f"{name}.yaml"
    assert read_task_file(path)["generation_kwargs"]["until"] == STOPS.get(name, [])
