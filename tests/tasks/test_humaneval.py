"""HumanEval for instruct models: lm-eval's form, LLaDA's and Dream's own; what an answer must look like to count."""

import pytest

from lm_eval_codd.catalogue import TASKS
from lm_eval_codd.programs import humaneval_tests
from lm_eval_codd.sandbox import run_program

FORMS = ("codd_humaneval", "codd_humaneval_10", "codd_humaneval_llada", "codd_humaneval_dream")
# Its tests call a function that only they need, which Dream's grader drops.
DROPPED = {"codd_humaneval_dream": {"HumanEval/50"}}


def reference(name, doc):
    """An answer in the form that the task asks for, with the reference solution in it."""
    if name == "codd_humaneval_llada":
        return f"Here it is:\n```python\n{doc['prompt']}{doc['canonical_solution']}```\nIt runs."
    return doc["canonical_solution"] + "```\nIt runs."


def answers_of(name, docs):
    return [reference(name, doc) for doc in docs for _ in range(TASKS[name.removeprefix("codd_")].repeats)]


def messages_of(task):
    seen = []

    def template(messages, add_generation_prompt):
        seen.append([(message["role"], message["content"]) for message in messages])
        return ""

    task.build_all_requests(apply_chat_template=True, chat_template=template)
    return seen[0]


class TestPrompts:
    def test_lladas_is_one_turn_of_opencompass(self, load_task, invented_dir):
        task = load_task("codd_humaneval_llada", invented_dir)
        prompt = task.eval_docs[0]["prompt"]
        assert messages_of(task) == [("user", f"Complete the following python code:\n{prompt}")]

    def test_dreams_is_the_form_that_lm_eval_had_then(self, load_task, invented_dir):
        task = load_task("codd_humaneval_dream", invented_dir)
        prompt = task.eval_docs[0]["prompt"]
        asked = f"Write a solution to the following problem and make sure that it passes the tests:\n```{prompt}"
        assert messages_of(task) == [
            ("user", asked),
            ("assistant", f"Here is the completed function:\n```python\n{prompt}\n"),
        ]

    def test_ten_answers_are_asked_for_as_one_is(self, load_task, invented_dir):
        one, ten = (load_task(name, invented_dir) for name in FORMS[:2])
        assert messages_of(one) == messages_of(ten)
        assert (one.config.repeats, ten.config.repeats) == (1, 10)

    @pytest.mark.parametrize("name", ["codd_humaneval_llada", "codd_humaneval_dream"])
    def test_what_was_not_read_in_the_official_code_itself_is_in_every_result(self, load_task, invented_dir, name):
        assert load_task(name, invented_dir).config.metadata["unverified"]


class TestScores:
    @pytest.mark.parametrize("name", FORMS)
    def test_of_reference_solutions_are_one_and_of_nothing_zero(self, load_task, score, invented_dir, name):
        task = load_task(name, invented_dir)
        docs = list(task.eval_docs)
        right = score(task, answers_of(name, docs))
        assert (right["pass_at_1,extract_code"], right["unreadable,extract_code"]) == (1.0, 0.0)
        assert score(task, [""] * len(answers_of(name, docs)))["pass_at_1,extract_code"] == 0.0

    def test_pass_at_10_asks_for_one_of_ten(self, load_task, score, invented_dir):
        task = load_task("codd_humaneval_10", invented_dir)
        first, _ = task.eval_docs
        wrong = "    return None\n"
        scores = score(task, [reference("codd_humaneval_10", first)] * 3 + [wrong] * 7 + [wrong] * 10)
        assert scores["pass_at_1,extract_code"] == pytest.approx(0.15)
        assert scores["pass_at_10,extract_code"] == 0.5

    @pytest.mark.parametrize(
        ("name", "body_counts", "function_counts"),
        [("codd_humaneval", True, False), ("codd_humaneval_llada", False, True), ("codd_humaneval_dream", True, True)],
    )
    def test_a_body_that_goes_on_and_a_function_in_a_block_count_as_officially(
        self, load_task, score, invented_dir, name, body_counts, function_counts
    ):
        task = load_task(name, invented_dir)
        docs = list(task.eval_docs)
        bodies = [doc["canonical_solution"] for doc in docs]
        functions = [f"```python\n{doc['prompt']}{doc['canonical_solution']}```" for doc in docs]
        assert score(task, bodies)["pass_at_1,extract_code"] == float(body_counts)
        assert score(task, functions)["pass_at_1,extract_code"] == float(function_counts)


class TestRealRows:
    @pytest.mark.parametrize("name", FORMS)
    def test_are_the_published_ones(self, load_task, shared_dir, name):
        data = load_task(name, shared_dir / "data").config.metadata["data"]
        assert (data["is_published_set"], data["rows"]) == (True, 164)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["codd_humaneval", "codd_humaneval_llada", "codd_humaneval_dream"])
    def test_all_reference_solutions_pass(self, load_task, score, shared_dir, name, times):
        """In the other forms every fourth and those that fail; all of them in the long form."""
        task, failing = load_task(name, shared_dir / "data"), DROPPED.get(name, set())
        docs, every = list(task.eval_docs), 1 if name == FORMS[0] else times(4, 1)
        rows = [row for row, doc in enumerate(docs) if row % every == 0 or doc["task_id"] in failing]
        docs = [docs[row] for row in rows]
        score(task, answers_of(name, docs), rows)
        ended = {i.doc["task_id"]: i.filtered_resps["extract_code"][0] for i in task._instances}
        failed = set()
        for doc in docs:
            program, status, _ = ended[doc["task_id"]]
            if status == "timeout":  # of a machine that has much else to do
                status = run_program(program, humaneval_tests(doc), timeout=60).status
            if status != "passed":
                failed.add(doc["task_id"])
        assert failed == failing
