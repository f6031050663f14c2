"""KLASS's tasks: their prompts and scores, on invented rows and on the real ones."""

from functools import partial

import pytest

from lm_eval_codd.catalogue import TASKS
from tests.tasks.test_prompts import render, tokenizer_with_template

OF_MATH = ("gsm8k_klass", "math500_klass")
OF_CODE = ("humaneval_klass", "mbpp_klass")
STEP_BY_STEP = (
    "Your task is to answer the question below. Give step by step reasoning before you answer, and when you're ready "
    "to answer, please use the format 'The final answer is'."
)
SYSTEM = {**dict.fromkeys(OF_MATH, STEP_BY_STEP), "humaneval_klass": "You complete only Python code."}
TURNS = {
    "gsm8k_klass": "{question}",
    "math500_klass": "{problem}",
    "humaneval_klass": "{prompt}",
    "mbpp_klass": "You are an expert Python programmer, and here is your task: {prompt} Your code should pass these "
    "tests:\n\n['assert double(2) == 4', 'assert double(-1) == -2', 'assert double(0) == 0', "
    '\'assert double("ab") == "abab"\']\n[BEGIN]',
}


def answer(name, doc):
    """The gold answer in the form that the task asks for."""
    if name in OF_MATH:
        gold = doc["answer"].split("#### ")[-1]
        return (
            f"So it is.\nThe final answer is ${gold}$." if name == "math500_klass" else f"The final answer is {gold}."
        )
    code = doc["code"] if name == "mbpp_klass" else doc["prompt"] + doc["canonical_solution"]
    return f"```python\n{code}\n```"


class TestPrompts:
    @pytest.mark.parametrize("name", [*OF_MATH, *OF_CODE])
    def test_are_a_system_message_and_the_question(self, load_task, invented_dir, name):
        task, seen = load_task(name, invented_dir), []

        def record(messages, add_generation_prompt):
            seen.append((messages, add_generation_prompt))
            return ""

        task.build_all_requests(apply_chat_template=True, chat_template=record)
        system = [{"role": "system", "content": SYSTEM[name]}] if name in SYSTEM else []
        assert seen[0] == ([*system, {"role": "user", "content": TURNS[name].format(**task.eval_docs[0])}], True)

    @pytest.mark.parametrize("template", ["llada", "qwen"])
    def test_are_rendered_in_the_templates_of_both_models(self, load_task, invented_dir, shared_dir, template):
        tokenizer = tokenizer_with_template(template, shared_dir / "data" / "tokenizers")
        task = load_task("gsm8k_klass", invented_dir)
        task.build_all_requests(apply_chat_template=True, chat_template=partial(render, tokenizer))
        prompt = task.instances[0].args[0]
        assert prompt.index("system") < prompt.index(STEP_BY_STEP) < prompt.index(task.eval_docs[0]["question"])

    @pytest.mark.parametrize("name", [*OF_MATH, *OF_CODE])
    def test_have_no_stop_strings(self, load_task, invented_dir, name):
        assert load_task(name, invented_dir).config.generation_kwargs["until"] == []


class TestScores:
    @pytest.mark.parametrize("name", [*OF_MATH, *OF_CODE])
    def test_of_gold_answers(self, load_task, score, invented_dir, name):
        task = load_task(name, invented_dir)
        docs = list(task.eval_docs)
        metric, filter_name = task.config.metadata["reported"].split(",")
        scores = score(task, [answer(name, doc) for doc in docs])
        # MBPP's second row needs a module that its `test_imports` has and an answer has not.
        assert scores[f"{metric},{filter_name}"] == (0.5 if name == "mbpp_klass" else 1.0)
        assert scores[f"unreadable,{filter_name}"] == 0.0
        assert score(task, ["no"] * len(docs))[f"{metric},{filter_name}"] == 0.0

    @pytest.mark.parametrize("name", OF_MATH)
    def test_of_answers_that_say_nothing(self, load_task, score, invented_dir, name):
        task = load_task(name, invented_dir)
        assert score(task, [""] * len(task.eval_docs)) == {"accuracy,none": 0.0, "unreadable,none": 1.0}

    def test_mbpps_tests_have_what_the_answer_imports(self, load_task, score, invented_dir):
        task = load_task("mbpp_klass", invented_dir)
        answers = [f"```python\nimport math\n{doc['code']}\n```" for doc in task.eval_docs]
        assert score(task, answers)["pass_at_1,extract_code"] == 1.0

    def test_all_of_mbpps_tests_count(self, load_task, score, invented_dir):
        task = load_task("mbpp_klass", invented_dir)
        only_numbers = (
            "```python\nimport math\ndef double(x):\n    return x + x + 0\ndef half(x):\n    return x / 2\n```"
        )
        assert score(task, [only_numbers] * 2)["pass_at_1,extract_code"] == 0.5

    def test_of_humaneval_a_body_that_goes_on_is_no_program(self, load_task, score, invented_dir):
        task = load_task("humaneval_klass", invented_dir)
        scores = score(task, [doc["canonical_solution"] for doc in task.eval_docs])
        assert (scores["pass_at_1,extract_code"], scores["unreadable,extract_code"]) == (0.0, 1.0)


class TestRealRows:
    @pytest.mark.parametrize("name", [*OF_MATH, "humaneval_klass"])
    def test_are_the_published_ones(self, load_task, shared_dir, name):
        data = load_task(name, shared_dir / "data").config.metadata["data"]
        assert (data["is_published_set"], data["rows"]) == (True, TASKS[name].rows)

    @pytest.mark.parametrize("name", OF_MATH)
    def test_gold_answers_are_right(self, load_task, score, shared_dir, name):
        task = load_task(name, shared_dir / "data")
        rows = list(range(0, TASKS[name].rows, TASKS[name].rows // 60))
        assert score(task, [answer(name, task.eval_docs[row]) for row in rows], rows)["accuracy,none"] == 1.0

    @pytest.mark.slow
    def test_all_reference_solutions_of_humaneval_pass(self, load_task, score, shared_dir, times):
        """Every fourth, all of them in the long form."""
        task = load_task("humaneval_klass", shared_dir / "data")
        docs = dict(list(enumerate(task.eval_docs))[:: times(4, 1)])
        answers = [answer("humaneval_klass", doc) for doc in docs.values()]
        assert score(task, answers, list(docs))["pass_at_1,extract_code"] == 1.0
