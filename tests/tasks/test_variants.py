"""Open-dLLM's and CD4LM's tasks: their prompts, stop strings and scores, on invented rows and on the real ones."""

import json
from pathlib import Path

import pytest

from lm_eval_codd.catalogue import TASKS, task_name
from lm_eval_codd.task_files import read_task_file

OPEN_DLLM = ("humaneval_opendllm", "humaneval_plus_opendllm", "mbpp_opendllm", "mbpp_plus_opendllm")
CD4LM = ("gsm8k_cd4lm", "math500_cd4lm", "humaneval_cd4lm", "mbpp_cd4lm")
OF_CODE = (*OPEN_DLLM, "humaneval_cd4lm", "mbpp_cd4lm")
TESTS = "double(2) == 4\nassert double(-1) == -2\nassert double(0) == 0"
FORM = (
    "\n\nFirst, reason about the solution step-by-step. Then, write the code.\nRespond in the following format:\n"
    "<reasoning>\nYour reasoning here\n</reasoning>\n<answer>\n```python\nThe complete implementation{}\n```\n</answer>"
)
# Rows whose reference solutions the official graders fail: sanitizing drops a function that only the tests call
# (HumanEval/50); 367 needs its row's `test_setup_code`; and CD4LM keeps what the first function of an MBPP answer
# needs, which in the others is a helper. The reference of 123 takes seconds: a fast machine passes it.
SLOW = 123
FIRST_IS_A_HELPER = {18, 30, 45, 56, 70, 148, 151, 152, 164, 181, 323, 338, 348, 364, 466, 485, 486, 501}
UNPASSABLE = {
    "humaneval_opendllm": {"HumanEval/50"},
    "humaneval_cd4lm": {"HumanEval/50"},
    "mbpp_opendllm": {367},
    "mbpp_cd4lm": {367, *FIRST_IS_A_HELPER},
}


def reference(task, doc):
    """An answer in the form that the task asks for, with the reference solution in it."""
    if task == "gsm8k_cd4lm":
        return f"<answer>\n\\boxed{{{doc['answer'].split('#### ')[-1]}}}\n</answer>"
    if task == "math500_cd4lm":
        return doc["solution"]
    if task.startswith("humaneval") and task.endswith("opendllm"):
        return doc["canonical_solution"]
    code = doc["code"] if "code" in doc else doc["prompt"] + doc["canonical_solution"]
    return f"{code}\n```" if task.endswith("opendllm") else f"<answer>\n```python\n{code}\n```\n</answer>"


def contexts(task):
    task.build_all_requests()
    return [request.args[0] for request in task.instances]


class TestPrompts:
    @pytest.mark.parametrize(("name", "benchmark"), [("gsm8k_cd4lm", "gsm8k"), ("math500_cd4lm", "math500")])
    def test_of_cd4lms_mathematics_are_the_official_ones(self, load_task, golden_dir, tmp_path, name, benchmark):
        golden = json.loads((golden_dir / "decoders" / "cd4lm_prompts.json").read_text())
        columns = dict.fromkeys(("answer", "solution", "subject", "level", "unique_id"), "")
        (tmp_path / benchmark).mkdir()
        (tmp_path / benchmark / "test.jsonl").write_text(json.dumps({**columns, **golden["doc"]}))
        assert contexts(load_task(name, tmp_path)) == [golden[benchmark]]

    @pytest.mark.parametrize(
        ("name", "prompt"),
        [
            ("humaneval_opendllm", "{prompt}"),
            ("humaneval_plus_opendllm", "{prompt}"),
            ("mbpp_opendllm", "{text} Your code should pass these tests:\n\nassert " + TESTS + "```python\n"),
            ("mbpp_plus_opendllm", "{prompt} Your code should pass these tests:\n\nassert " + TESTS + "```python\n"),
            (
                "humaneval_cd4lm",
                "Write a solution to the following problem and make sure that it passes the tests:\n{prompt}"
                + FORM.format("  of the largest function"),
            ),
            (
                "mbpp_cd4lm",
                "Write a solution to the following problem and make sure that it passes the tests:\n{text} Your code "
                "should pass these tests:\n\nassert " + TESTS + FORM.format(" of the function"),
            ),
        ],
    )
    def test_of_code_are_as_specified(self, load_task, invented_dir, name, prompt):
        task = load_task(name, invented_dir)
        assert contexts(task)[0] == prompt.format(**task.eval_docs[0])

    @pytest.mark.parametrize("name", OPEN_DLLM)
    def test_of_open_dllm_end_at_its_stop_strings(self, load_task, invented_dir, name):
        of_def = ["\ndef"] if name.startswith("humaneval") else []
        until = load_task(name, invented_dir).config.generation_kwargs["until"]
        assert until == ["\nclass", *of_def, "\n#", "\nif", "\nprint"]

    def test_of_cd4lm_end_at_none_but_mbpps(self, load_task, invented_dir):
        until = [load_task(name, invented_dir).config.generation_kwargs["until"] for name in CD4LM]
        assert until == [[], [], [], ["[DONE]"]]

    @pytest.mark.parametrize("name", [*OPEN_DLLM, *CD4LM])
    def test_have_no_chat_template_in_their_protocol_and_say_so_where_one_is_applied(
        self, load_task, invented_dir, caplog, name
    ):
        task = load_task(name, invented_dir)
        task.build_all_requests()
        assert "chat template" not in caplog.text
        task.build_all_requests(apply_chat_template=True, chat_template=lambda messages, **options: "")
        assert f"{name}: its protocol has no chat template; leave out --apply_chat_template" in caplog.text


class TestCatalogue:
    @pytest.mark.parametrize("short", [name for name, task in TASKS.items() if not task.comes_with_rows])
    def test_says_what_the_task_files_say(self, tasks_dir, short):
        config = read_task_file(tasks_dir / short / f"{task_name(short)}.yaml")
        task = TASKS[short]
        assert config["task"] == task_name(short)
        assert config["metadata"].get("documents", config["dataset_kwargs"]["rows"]) == task.rows
        assert config.get("repeats", 1) == task.repeats
        assert config["generation_kwargs"].get("max_gen_toks") == task.gen_length
        assert config["metadata"].get("chat_template", True) is task.chat_template

    def test_the_plus_variants_are_read_from_the_hubs_columns(self, load_task, invented_dir):
        config = load_task("mbpp_plus_opendllm", invented_dir).config
        assert (config.dataset_path, config.dataset_name, config.test_split) == ("evalplus/mbppplus", "default", "test")
        assert config.dataset_kwargs["file"] == "mbpp_plus/test.jsonl"


class TestScores:
    @pytest.mark.parametrize("name", [*OPEN_DLLM, *CD4LM])
    def test_of_reference_solutions_are_one_and_of_nothing_zero(self, load_task, score, invented_dir, name):
        task = load_task(name, invented_dir)
        docs, repeats = list(task.eval_docs), TASKS[name].repeats
        metric, filter_name = task.config.metadata["reported"].split(",")
        needs_setup = [bool(doc.get("test_setup_code")) for doc in docs]
        right = score(task, [reference(name, doc) for doc in docs for _ in range(repeats)])
        assert right[f"{metric},{filter_name}"] == pytest.approx(1 - sum(needs_setup) / len(docs))
        assert right[f"unreadable,{filter_name}"] == 0.0
        empty = score(task, [""] * (len(docs) * repeats))
        assert empty[f"{metric},{filter_name}"] == 0.0

    @pytest.mark.parametrize("name", OPEN_DLLM)
    def test_pass_at_k_is_estimated_from_ten_answers_of_a_row(self, load_task, score, invented_dir, name):
        task = load_task(name, invented_dir)
        first, _ = task.eval_docs
        wrong = "    return None\n" if name.startswith("humaneval") else "pass"
        answers = [reference(name, first)] * 3 + [wrong] * 7 + [wrong] * 10
        scores = score(task, answers)
        assert scores["pass_at_1,extract_code"] == pytest.approx(0.15)
        assert scores["pass_at_10,extract_code"] == 0.5
        assert len(task.instances[0].filtered_resps["extract_code"]) == 10

    def test_mbpps_setup_code_does_not_run(self, load_task, score, invented_dir):
        task = load_task("mbpp_cd4lm", invented_dir)
        score(task, [reference("mbpp_cd4lm", doc) for doc in task.eval_docs])
        status, detail = task._instances[1].filtered_resps["extract_code"][0][1:]
        assert (status, detail) == ("failed", "NameError: name 'Pair' is not defined")

    @pytest.mark.parametrize("name", OF_CODE)
    def test_programs_run_in_the_sandbox_and_say_so(self, load_task, invented_dir, name):
        metadata = load_task(name, invented_dir).config.metadata
        assert metadata["sandbox"]["timeout_seconds"] == 3.0
        assert Path(invented_dir) in Path(metadata["data"]["source"]).parents


class TestRealRows:
    @pytest.mark.parametrize("name", [name for name in TASKS if name in CD4LM])
    def test_are_the_published_ones(self, load_task, shared_dir, name):
        data = load_task(name, shared_dir / "data").config.metadata["data"]
        assert data["is_published_set"]
        assert data["rows"] == TASKS[name].rows

    @pytest.mark.parametrize("name", ["gsm8k_cd4lm", "math500_cd4lm"])
    def test_gold_solutions_are_right(self, load_task, score, shared_dir, name):
        task = load_task(name, shared_dir / "data")
        assert score(task, [reference(name, doc) for doc in task.eval_docs]) == {
            "accuracy,none": 1.0,
            "unreadable,none": 0.0,
        }

    @pytest.mark.parametrize("name", UNPASSABLE)
    def test_reference_programs_pass(self, load_task, score, shared_dir, name):
        task = load_task(name, shared_dir / "data")
        docs = list(task.eval_docs)
        left_out = {SLOW, *UNPASSABLE[name]}
        rows = [row for row in range(0, len(docs), len(docs) // 16) if docs[row]["task_id"] not in left_out]
        answers = [reference(name, docs[row]) for row in rows for _ in range(TASKS[name].repeats)]
        assert score(task, answers, rows)["pass_at_1,extract_code"] == 1.0

    @pytest.mark.slow
    @pytest.mark.parametrize("name", UNPASSABLE)
    def test_all_reference_programs_pass_but_those_that_the_official_grader_fails(
        self, load_task, score, shared_dir, name, times
    ):
        task = load_task(name, shared_dir / "data")
        docs, every = list(task.eval_docs), times(8, 1)
        chosen = {doc["task_id"] for doc in docs[::every]} - {SLOW} | UNPASSABLE[name]
        rows = [row for row, doc in enumerate(docs) if doc["task_id"] in chosen]
        score(task, [reference(name, docs[row]) for row in rows for _ in range(TASKS[name].repeats)], rows)
        statuses = {i.doc["task_id"]: i.filtered_resps["extract_code"][0][1] for i in task._instances}
        failed = {row for row, status in statuses.items() if status != "passed"}
        assert failed == UNPASSABLE[name]


class TestReadme:
    @pytest.mark.parametrize("short", TASKS)
    def test_names_every_task(self, tasks_dir, short):
        assert f"`{task_name(short)}`" in (tasks_dir / "README.md").read_text()
