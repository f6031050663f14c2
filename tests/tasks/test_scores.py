import json
import subprocess
import sys

import pytest
from lm_eval.tasks._yaml_loader import load_yaml

from lm_eval_codd import programs, sandbox

SLOW_REFERENCE = 123  # its own reference takes about 7 s, beyond MBPP's 3


@pytest.fixture(scope="module")
def mbpp_utils(tasks_dir):
    """The module beside the YAML, as lm-eval imports it."""
    config = load_yaml(tasks_dir / "mbpp" / "codd_mbpp.yaml")
    return sys.modules[config["filter_list"][0]["filter"][0]["filter_fn"].__module__]


class TestGSM8K:
    def test_gold_answers_score_one_under_both_filters(self, load_task, score, shared_dir):
        task = load_task("codd_gsm8k", shared_dir / "data")
        docs = list(task.eval_docs)
        assert len(docs) == 1319
        assert score(task, [doc["answer"] for doc in docs]) == {
            "exact_match,strict-match": 1.0,
            "exact_match,flexible-extract": 1.0,
            "unreadable,strict-match": 0.0,
            "unreadable,flexible-extract": 0.0,
        }

    def test_flexible_extract_takes_the_last_number_and_strict_match_asks_for_the_mark(
        self, load_task, score, invented_dir
    ):
        task = load_task("codd_gsm8k", invented_dir)
        answers = ["36 - 7 is 29.", "first 250, then 251", "It is $1,040."]
        assert score(task, answers) == {
            "exact_match,strict-match": 0.0,
            "exact_match,flexible-extract": pytest.approx(2 / 3),
            "unreadable,strict-match": 1.0,
            "unreadable,flexible-extract": 0.0,
        }


class TestMATH500:
    def test_gold_solutions_score_one(self, load_task, score, shared_dir, times):
        """Every tenth, all of them in the long form."""
        task = load_task("codd_math500", shared_dir / "data")
        docs = dict(list(enumerate(task.eval_docs))[:: times(10, 1)])
        assert score(task, [doc["solution"] for doc in docs.values()], list(docs))["math_verify,none"] == 1.0

    def test_a_boxed_answer_is_verified_and_a_wrong_one_is_not(self, load_task, score, invented_dir):
        task = load_task("codd_math500", invented_dir)
        assert score(task, ["So it is \\boxed{1.25}.", "\\boxed{8}"])["math_verify,none"] == 0.5

    def test_exact_match_needs_the_closing_sentence(self, load_task, score, invented_dir):
        task = load_task("codd_math500", invented_dir)
        answers = ["Final Answer: The final answer is $\\frac{5}{4}$. I hope it is correct.", "\\boxed{7}"]
        assert score(task, answers) == {"exact_match,none": 0.5, "math_verify,none": 1.0, "unreadable,none": 0.0}

    def test_the_parser_is_loaded_with_the_task_and_not_within_a_comparisons_time_limit(self, tasks_dir):
        # Cut short, its import leaves sympy without a parser for the rest of the process.
        code = """
import gc, sys
gc.disable()  # which looks at all that is imported, in vain
from lm_eval.tasks._yaml_loader import load_yaml
load_yaml(sys.argv[1])
assert "sympy.parsing.latex._antlr.latexlexer" in sys.modules
"""
        subprocess.run([sys.executable, "-c", code, tasks_dir / "math500" / "codd_math500.yaml"], check=True)


class TestGPQA:
    def test_the_letter_in_brackets_counts_and_the_last_one_wins(self, load_task, score, invented_dir):
        task = load_task("codd_gpqa", invented_dir)
        gold = [doc["answer"] for doc in task.eval_docs]
        wrong = "(B)" if gold[1] == "(A)" else "(A)"
        answers = [f"Not {wrong} but {gold[0]}", f"{gold[1]}, no, {wrong}", f"The answer is {gold[2]}."]
        assert score(task, answers) == {
            "exact_match,strict-match": pytest.approx(1 / 3),
            "exact_match,flexible-extract": pytest.approx(2 / 3),
            "unreadable,strict-match": pytest.approx(2 / 3),
            "unreadable,flexible-extract": 0.0,
        }


class TestMBPP:
    def test_reference_programs_pass_but_one_that_a_slow_machine_cuts_short(self, load_task, score, shared_dir, times):
        """One in twenty-five, all of them in the long form."""
        task, chosen = load_task("codd_mbpp", shared_dir / "data"), times((17,), range(25))
        docs = {row: doc for row, doc in enumerate(task.eval_docs) if doc["task_id"] % 25 in chosen}
        assert 367 in [doc["task_id"] for doc in docs.values()], "the one row with test_setup_code"
        found = score(task, [doc["code"] + "\n```" for doc in docs.values()], list(docs))
        statuses = {i.doc["task_id"]: i.filtered_resps["extract_code"][0][1] for i in task._instances}
        is_cut = statuses.pop(SLOW_REFERENCE, "passed") == "timeout"
        assert set(statuses.values()) == {"passed"}
        assert found["pass_at_1,extract_code"] == pytest.approx(1 - is_cut / len(docs))

    def test_setup_code_runs_before_the_tests_and_a_wrong_program_fails(self, load_task, score, invented_dir):
        task = load_task("codd_mbpp", invented_dir)
        reference = [doc["code"] for doc in task.eval_docs]
        assert score(task, reference)["pass_at_1,extract_code"] == 1.0
        assert score(task, ["def double(x): return x", reference[1]])["pass_at_1,extract_code"] == 0.5
        code, status, detail = task._instances[0].filtered_resps["extract_code"][0]
        assert (code, status, detail) == ("def double(x): return x", "failed", "AssertionError:")

    def test_repeated_answers_of_a_row_are_averaged(self):
        ended = [["x", "passed", ""], ["", "failed", ""], ["x", "timeout", ""], ["x", "passed", ""]]
        for results in (ended, [ended]):  # as lm-eval 0.5 and 0.4 hand them over
            assert programs.pass_at_1({}, results) == {"pass_at_1": 0.5, "unreadable": 0.25}

    @pytest.mark.parametrize("name", ["codd_mbpp", "humaneval_opendllm", "mbpp_cd4lm"])
    def test_asks_for_confirmation_only_where_the_kernel_does_not_confine(
        self, load_task, invented_dir, monkeypatch, name
    ):
        monkeypatch.setattr(sandbox, "isolation", lambda: {"files": "landlock 7", "network": "seccomp"})
        assert not getattr(load_task(name, invented_dir), "UNSAFE_CODE", False)
        monkeypatch.setattr(sandbox, "isolation", lambda: {"files": "none: no such call", "network": "seccomp"})
        task = load_task(name, invented_dir)
        assert task.UNSAFE_CODE
        assert task.config.metadata["sandbox"]["files"] == "none: no such call"


class TestExtractCode:
    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            ("\ndef f():\n    return 1\n```", "def f():\n    return 1"),
            ("def f(): pass\n```\nThis is `f`.", "def f(): pass"),
            ("def f(): pass", "def f(): pass"),
            ("```python\ndef f(): pass\n```\nand ```python\ng```", "def f(): pass"),
            ("```\ndef f(): pass", "def f(): pass"),
            ("Here:\n```python\ndef f(): pass\n```\nDone.", "def f(): pass"),
            # As officially: code, its fence and a second block leave prose in the program.
            ("def f(): pass\n```\nor\n```python\ng()\n```", "def f(): pass\n```\nor\n```\ng()"),
            ("", ""),
        ],
    )
    def test_finds_the_program_as_the_papers_harness_does(self, mbpp_utils, answer, code):
        assert mbpp_utils.extract_code(answer) == code


class TestNames:
    def test_the_reported_metric_of_each_task_is_one_it_scores(self, load_task, score, invented_dir):
        for name in ("codd_gsm8k", "codd_math500", "codd_gpqa", "codd_mbpp"):
            task = load_task(name, invented_dir)
            values = score(task, [""] * len(task.eval_docs))
            assert task.config.metadata["reported"] in values, json.dumps(values)
            for metric in {key.split(",")[0] for key in values}:
                assert task.higher_is_better()[metric] is (metric != "unreadable")
