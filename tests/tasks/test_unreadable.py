"""How much of a score is format: the answers that a filter could not read are counted beside it, and score nothing."""

import json

import pytest
from lm_eval import evaluate
from lm_eval.api.registry import get_model


class TestGPQA:
    @pytest.mark.parametrize("form", ["{}", "**{}**", "\\boxed{{{}}}", "The correct answer is {}"])
    def test_a_letter_without_brackets_is_not_read_by_the_papers_filter(self, load_task, score, invented_dir, form):
        task = load_task("codd_gpqa", invented_dir)
        scores = score(task, [form.format(doc["answer"][1]) for doc in task.eval_docs])
        assert (scores["exact_match,flexible-extract"], scores["unreadable,flexible-extract"]) == (0.0, 1.0)

    def test_a_wrong_letter_in_brackets_is_read(self, load_task, score, invented_dir):
        task = load_task("codd_gpqa", invented_dir)
        wrong = ["(B)" if doc["answer"] == "(A)" else "(A)" for doc in task.eval_docs]
        scores = score(task, wrong)
        assert (scores["exact_match,flexible-extract"], scores["unreadable,flexible-extract"]) == (0.0, 0.0)


class TestMATH500:
    def test_the_form_that_the_prompt_asks_for_is_mostly_not_read(self, load_task, score, invented_dir):
        task = load_task("codd_math500", invented_dir)
        assert score(task, ["boxed{p - q}", "It is hard."])["unreadable,none"] == 1.0
        assert score(task, ["\\boxed{\\frac{5}{4}}", "\\boxed{8}"])["unreadable,none"] == 0.0

    def test_gold_answers_in_both_forms(self, load_task, score, shared_dir, times):
        task = load_task("codd_math500", shared_dir / "data")
        rows = (shared_dir / "data" / "math500" / "test.jsonl").read_text(encoding="utf-8").splitlines()
        step = times(10, 1)
        asked = list(range(0, len(rows), step))
        gold = [json.loads(rows[row])["answer"] for row in asked]
        plain = score(task, [f"boxed{{{answer}}}" for answer in gold], asked)
        # The others are read as something else, such as the last component of a vector.
        verified, unreadable = {10: (7, 41), 1: (49, 421)}[step]
        assert round(len(gold) * plain["math_verify,none"]) == verified
        assert round(len(gold) * plain["unreadable,none"]) == unreadable
        with_backslash = score(task, [f"\\boxed{{{answer}}}" for answer in gold], asked)
        assert (with_backslash["math_verify,none"], with_backslash["unreadable,none"]) == (1.0, 0.0)


class TestMBPP:
    @pytest.mark.parametrize("answer", ["", "```\n```", "Here is how it works:", "  def f(): pass\n x", "def f():\0"])
    def test_what_python_cannot_compile_is_no_program(self, load_task, score, invented_dir, answer):
        task = load_task("codd_mbpp", invented_dir)
        docs = list(task.eval_docs)
        scores = score(task, [answer, docs[1]["code"]])
        assert (scores["pass_at_1,extract_code"], scores["unreadable,extract_code"]) == (0.5, 0.5)

    def test_a_wrong_program_is_one(self, load_task, score, invented_dir):
        task = load_task("codd_mbpp", invented_dir)
        scores = score(task, ["def double(x): return x", "raise ValueError('SyntaxError: no')"])
        assert (scores["pass_at_1,extract_code"], scores["unreadable,extract_code"]) == (0.0, 0.0)


class TestResults:
    def test_of_lm_eval_carry_it_for_each_filter_and_the_samples_for_each_answer(
        self, task_manager, monkeypatch, invented_dir
    ):
        monkeypatch.setenv("CODD_DATA_DIR", str(invented_dir))
        tasks = task_manager.load(["codd_gpqa"])
        results = evaluate(lm=get_model("dummy")(), task_dict=tasks, bootstrap_iters=0, log_samples=True)
        scores = results["results"]["codd_gpqa"]
        assert {name: scores[f"unreadable,{name}"] for name in ("strict-match", "flexible-extract")} == {
            "strict-match": 1.0,
            "flexible-extract": 1.0,
        }
        assert results["higher_is_better"]["codd_gpqa"]["unreadable"] is False
        assert {sample["unreadable"] for sample in results["samples"]["codd_gpqa"]} == {1.0}
