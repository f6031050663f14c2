"""Tasks of dLLM's fork of lm-eval: prompts, stop strings and graders as read in the fork, on invented rows.

`golden/tasks/mmlu_prompts.json` was rendered by lm-eval 0.4.13's own `mmlu_generative`, which asks as the fork's
`mmlu_generative_dream` does, a task for each subject, without and with two examples in the user's turn.
"""

import json

import pytest
from lm_eval.tasks import TaskManager

from lm_eval_codd.catalogue import TASKS
from lm_eval_codd.rows import DataError

NAMES = ("hellaswag_dllm", "mmlu_dllm_llada", "mmlu_dllm_dream", "humaneval_dllm_llada", "mbpp_dllm_dream")
OF_CODE = NAMES[3:]


def messages_of(task):
    seen = []

    def template(messages, add_generation_prompt):
        seen.append([(message["role"], message["content"]) for message in messages])
        return ""

    task.build_all_requests(apply_chat_template=True, chat_template=template)
    return seen


@pytest.fixture
def with_shots(tasks_dir, invented_dir, monkeypatch):
    """A function (data folder, shots) -> the MMLU task with so many examples."""

    def load(shots, data_dir=invented_dir):
        monkeypatch.setenv("CODD_DATA_DIR", str(data_dir))
        given = {"include_defaults": False, "include_path": str(tasks_dir)}
        manager = TaskManager(**given, metadata={"shots": shots})
        return manager.load(["mmlu_dllm_dream"])["tasks"]["mmlu_dllm_dream"]

    return load


class TestPrompts:
    def test_hellaswag_has_a_cleaned_context_and_four_endings(self, load_task, invented_dir):
        first, second = messages_of(load_task("hellaswag_dllm", invented_dir))
        form = (
            "{}\nQuestion: Which ending makes the most sense?\nA. {}\nB. {}\nC. {}\nD. {}\n"
            "You may choose from 'A', 'B', 'C', 'D'.\nAnswer:\n"
        )
        context = "Baking bread: A man kneads dough on a table. He"
        endings = ["puts it into the oven.", "rides away on a horse.", "paints the wall.", "falls asleep in a boat."]
        assert first == [("user", form.format(context, *endings))]
        context = "Home and Garden: How to water plants. Fill a can. Use cool water."
        endings = [" Sing to the can.", "Pour it into the sea.", "Pour slowly at the roots.", " Drink it yourself."]
        assert second == [("user", form.format(context, *endings))]

    def test_lladas_mmlu_names_the_subject(self, load_task, invented_dir):
        task = load_task("mmlu_dllm_llada", invented_dir)
        assert messages_of(task)[0] == [
            (
                "user",
                "There is a single choice question about astronomy. Answer the question by replying A, B, C or D.\n"
                "Q: Which planet is nearest to the sun?\nA. Venus\nB. Mercury\nC. Mars\nD. Earth\nA:\n",
            )
        ]

    @pytest.mark.parametrize("shots", [0, 2])
    def test_dreams_mmlu_is_lm_evals_with_examples_of_the_questions_subject(self, with_shots, golden_dir, shots):
        golden = json.loads((golden_dir / "tasks" / "mmlu_prompts.json").read_text())
        task = with_shots(shots)
        assert messages_of(task) == [[("user", text)] for text in golden[str(shots)]]
        assert task.config.metadata["shots"] == shots

    def test_lladas_humaneval_is_one_turn(self, load_task, invented_dir):
        task = load_task("humaneval_dllm_llada", invented_dir)
        prompt = task.eval_docs[0]["prompt"]
        assert messages_of(task)[0] == [("user", f"Complete the following python code:\n{prompt}")]

    def test_dreams_mbpp_begins_the_answer(self, load_task, invented_dir):
        task = load_task("mbpp_dllm_dream", invented_dir)
        asked = (
            "You are an expert Python programmer, and here is your task: Write a function to double a number. Your "
            "code should pass these tests:\n\nassert double(2) == 4\nassert double(-1) == -2\nassert double(0) == 0"
        )
        begun = "Here is the completed function:\n```python\n"
        assert messages_of(task)[0] == [("user", asked), ("assistant", begun)]

    @pytest.mark.parametrize(
        ("name", "until"),
        [
            ("hellaswag_dllm", ["\n", "</s>", "<|im_end|>"]),
            ("mmlu_dllm_llada", ["</s>", "\n"]),
            ("mmlu_dllm_dream", ["</s>", "\n"]),
            ("humaneval_dllm_llada", []),
            ("mbpp_dllm_dream", ["```"]),
        ],
    )
    def test_end_at_the_forks_stop_strings(self, load_task, invented_dir, name, until):
        assert load_task(name, invented_dir).config.generation_kwargs["until"] == until


class TestExamples:
    @pytest.mark.parametrize("shots", ["6", "-1", "two", 1.5])
    def test_are_five_at_most(self, with_shots, shots):
        with pytest.raises(ValueError, match=f"`--metadata shots={shots}` is not a number from 0 to 5"):
            with_shots(shots)

    def test_too_few_of_a_subject_say_so_in_one_line(self, with_shots):
        with pytest.raises(DataError, match="has 2 examples of abstract_algebra, and `shots=3` needs as many") as said:
            with_shots(3)
        assert "\n" not in str(said.value)

    def test_without_them_the_development_rows_are_not_read(self, with_shots, invented_dir, tmp_path):
        (tmp_path / "mmlu").mkdir()
        (tmp_path / "mmlu" / "test.jsonl").write_text((invented_dir / "mmlu" / "test.jsonl").read_text())
        assert len(with_shots(0, tmp_path).eval_docs) == 3
        with pytest.raises(DataError, match=r"no file .*dev[.]jsonl"):
            with_shots(1, tmp_path)


class TestAnswers:
    @pytest.mark.parametrize(
        ("name", "answers", "right", "unreadable"),
        [
            ("hellaswag_dllm", ["A", "c. Pour slowly"], 1.0, 0.0),
            ("hellaswag_dllm", ["The first: A", "C"], 1.0, 0.0),  # no a to d stands before it
            ("hellaswag_dllm", ["I choose A", "None"], 0.0, 0.5),  # the c of "choose" comes first
            ("mmlu_dllm_llada", [" b", "A.", "D. the Earth"], 2 / 3, 0.0),
            ("mmlu_dllm_dream", ["B. Mercury", "A", "Down"], 1.0, 0.0),
            ("mmlu_dllm_dream", [" B", "a", "D"], 1 / 3, 2 / 3),
        ],
    )
    def test_are_read_by_the_forks_filter(self, load_task, score, invented_dir, name, answers, right, unreadable):
        task = load_task(name, invented_dir)
        scores = score(task, answers)
        metric, filter_name = task.config.metadata["reported"].split(",")
        assert scores[f"{metric},{filter_name}"] == pytest.approx(right)
        assert scores[f"unreadable,{filter_name}"] == pytest.approx(unreadable)

    def test_of_hellaswag_are_letters(self, load_task, invented_dir):
        assert [doc["letter"] for doc in load_task("hellaswag_dllm", invented_dir).eval_docs] == ["a", "c"]


class TestPrograms:
    def test_a_whole_function_passes_both_graders_of_humaneval_and_a_body_one(self, load_task, score, invented_dir):
        task = load_task("humaneval_dllm_llada", invented_dir)
        docs = list(task.eval_docs)
        functions = [f"Sure:\n```python\n{doc['prompt']}{doc['canonical_solution']}```" for doc in docs]
        bodies = [doc["canonical_solution"] for doc in docs]
        for answers, alone, behind_the_prompt in ((functions, 1.0, 1.0), (bodies, 0.0, 1.0), ([""] * 2, 0.0, 0.0)):
            scores = score(task, answers)
            assert scores["pass_at_1,extract_code"] == alone
            assert scores["pass_at_1,sanitize"] == behind_the_prompt

    def test_a_function_that_needs_the_prompts_imports_passes_only_behind_it(self, load_task, score, invented_dir):
        task = load_task("humaneval_dllm_llada", invented_dir)
        alone = "```python\ndef largest(numbers: List[int]) -> int:\n    return max(numbers)\n```"
        scores = score(task, [alone], [0])
        assert (scores["pass_at_1,extract_code"], scores["pass_at_1,sanitize"]) == (0.0, 1.0)

    @pytest.mark.parametrize(
        ("answer", "program"),
        [
            ("a\n```python\nx = 1\n```\n```python\ny = 2\n```", "x = 1\n"),
            ("```python\nx = 1", "x = 1"),  # never closed
            ("```\n    x = 1\n```", "x = 1\n"),
            ("```c++\nx = 1```", "x = 1"),
            ("```import os\n```", "os\n"),  # the first word is taken for the language
            ("\n\n  x = 1\ny", "x = 1\ny"),
        ],
    )
    def test_the_program_alone_is_the_first_block_or_the_answer(self, load_task, score, invented_dir, answer, program):
        task = load_task("humaneval_dllm_llada", invented_dir)
        score(task, [answer], [0])
        assert task._instances[0].filtered_resps["extract_code"][0][0] == program

    def test_mbpps_is_the_answer_up_to_the_fence(self, load_task, score, invented_dir):
        task = load_task("mbpp_dllm_dream", invented_dir)
        double = task.eval_docs[0]["code"]
        assert score(task, [double], [0])["pass_at_1,extract_code"] == 1.0
        said = score(task, [f"Here it is:\n{double}"], [0])
        assert (said["pass_at_1,extract_code"], said["unreadable,extract_code"]) == (0.0, 1.0)

    @pytest.mark.parametrize("name", OF_CODE)
    def test_run_in_the_sandbox(self, load_task, invented_dir, name):
        assert load_task(name, invented_dir).config.metadata["sandbox"]["timeout_seconds"] == 3.0


class TestRealRows:
    @pytest.mark.parametrize("name", OF_CODE)
    def test_are_the_published_ones(self, load_task, shared_dir, name):
        data = load_task(name, shared_dir / "data").config.metadata["data"]
        assert (data["is_published_set"], data["rows"]) == (True, TASKS[name].rows)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "failed"),
        [
            ("humaneval_dllm_llada", {"extract_code": set(), "sanitize": {"HumanEval/50"}}),
            ("mbpp_dllm_dream", {"extract_code": {367}}),
        ],
    )
    def test_reference_solutions_pass_but_those_that_no_answer_can(
        self, load_task, score, shared_dir, times, name, failed
    ):
        """Every tenth and those that fail; all of them in the long form."""
        task = load_task(name, shared_dir / "data")
        docs = list(task.eval_docs)
        # The reference of MBPP's 123 takes seconds: a fast machine passes it.
        chosen = {doc["task_id"] for doc in docs[:: times(10, 1)]} - {123} | set().union(*failed.values())
        rows = [row for row, doc in enumerate(docs) if doc["task_id"] in chosen]
        is_mbpp = name.startswith("mbpp")
        of_rows = [docs[row] for row in rows]
        score(
            task,
            [d["code"] if is_mbpp else f"```python\n{d['prompt']}{d['canonical_solution']}```" for d in of_rows],
            rows,
        )
        for filter_name, wanted in failed.items():
            ended = {i.doc["task_id"]: i.filtered_resps[filter_name][0][1] for i in task._instances}
            found = {row for row, status in ended.items() if status != "passed"}
            assert found == wanted
