"""MBPP and HumanEval as LLaDA's copy of OpenCompass asks and grades them."""

import pytest

from lm_eval_codd.grading import opencompass
from tests.tasks.opencompass_tasks import CODE, messages_of, text_of

# Task 367 cannot pass without its row's `test_setup_code`; of programs that end with a quotation mark it is taken for
# the one behind the program, where `[DONE]` follows. The reference of 123 takes seconds: a fast machine passes it.
SLOW = 123
UNPASSABLE = {"codd_mbpp_llada": {44, 217, 337, 367}, "codd_mbpp_llada_base": {367}}


def reference(name, doc):
    """An answer with the reference solution, in the form of the examples."""
    if "canonical_solution" in doc:
        return doc["canonical_solution"]
    return f" '{doc['code']}' \n" if name.endswith("base") else f"[BEGIN]\n '{doc['code']}' \n[DONE] \n\n "


class TestCode:
    def test_mbpp_is_three_examples_and_the_question_in_turns(self, load_task, invented_dir):
        task = load_task("codd_mbpp_llada", invented_dir)
        messages = messages_of(task)
        assert [role for role, _ in messages] == [*(("user", "assistant") * 3), "user"]
        assert messages[1][1].endswith("\r\n  return (res)' \n[DONE] \n\n ")
        asked = (
            "You are an expert Python programmer, and here is your task: {text} Your code should pass these tests:\n\n "
        )
        tests = "\n".join(task.eval_docs[0]["test_list"])
        assert messages[-1][1] == f"{asked.format(**task.eval_docs[0])}{tests}  \n"

    def test_mbpps_answer_is_begun_for_base_models(self, load_task, invented_dir):
        task = load_task("codd_mbpp_llada_base", invented_dir)
        messages = messages_of(load_task("codd_mbpp_llada", invented_dir))
        assert text_of(task) == "\n".join([*(text for _, text in messages), "[BEGIN]\n"])

    def test_humaneval_is_the_prompt_alone_for_base_models(self, load_task, invented_dir):
        task = load_task("codd_humaneval_llada_base", invented_dir)
        assert text_of(task) == task.eval_docs[0]["prompt"]

    @pytest.mark.parametrize(
        ("text", "program"),
        [
            ("[BEGIN]\n 'x = 1' \n[DONE]", "x = 1"),
            (" 'x = 1' \n", "x = 1"),
            ("[BEGIN]\nx = 1\n[DONE]\n[BEGIN]\ny = 2\n[DONE]", "x = 1"),
            ("Sure:\n```python\nx = 1\n```\nDone.", "x = 1"),
            ("```\nx\\_1 = 1", "x_1 = 1"),
            ("```python\nx = 1\n```\n[BEGIN]\n'y = 2'\n[DONE]", "y = 2"),
            ("x = 1\nDONE = 2", "x = 1"),
            ("x = 1", "x = 1"),
        ],
    )
    def test_mbpps_programs_are_found_as_officially(self, text, program):
        assert opencompass.mbpp_program(text) == program

    @pytest.mark.parametrize(
        ("text", "body"),
        [
            ("    return 1\n\n\ndef g():\n    pass", "    return 1"),
            ("   return 1\nprint(2)", "    return 1"),
            ("    if x:\n\n        y\n```\nSo", "    if x:\n\n        y"),
            ("def f():\n    return 1", ""),
        ],
    )
    def test_humanevals_body_ends_where_it_ends_officially(self, text, body):
        assert opencompass.continued_body(text) == body

    @pytest.mark.parametrize("name", CODE)
    def test_reference_solutions_pass_and_nothing_does_not(self, load_task, score, invented_dir, name):
        task = load_task(name, invented_dir)
        docs = list(task.eval_docs)
        needs_setup = sum(bool(doc.get("test_setup_code")) for doc in docs)
        scores = score(task, [reference(name, doc) for doc in docs])
        assert scores["pass_at_1,extract_code"] == pytest.approx(1 - needs_setup / len(docs))
        assert scores["unreadable,extract_code"] == 0.0
        assert score(task, [""] * len(docs))["pass_at_1,extract_code"] == 0.0

    def test_mbpps_programs_have_the_official_nine_seconds(self, load_task, invented_dir):
        for name in CODE[:2]:
            assert load_task(name, invented_dir).config.metadata["sandbox"]["timeout_seconds"] == 9.0
        assert load_task(CODE[2], invented_dir).config.metadata["sandbox"]["timeout_seconds"] == 3.0

    @pytest.mark.slow
    @pytest.mark.parametrize("name", CODE)
    def test_all_reference_solutions_pass_but_those_that_the_official_grader_fails(
        self, load_task, score, shared_dir, name, times
    ):
        task, failing = load_task(name, shared_dir / "data"), UNPASSABLE.get(name, set())
        assert task.config.metadata["data"]["is_published_set"]
        docs, every = list(task.eval_docs), times(8, 1)
        chosen = {doc["task_id"] for doc in docs[::every]} - {SLOW} | failing
        rows = [row for row, doc in enumerate(docs) if doc["task_id"] in chosen]
        score(task, [reference(name, docs[row]) for row in rows], rows)
        ended = {i.doc["task_id"]: i.filtered_resps["extract_code"][0][1] for i in task._instances}
        assert len(ended) == len(rows)
        assert {row for row, status in ended.items() if status != "passed"} == failing
