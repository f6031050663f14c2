"""Tasks as LLaDA's copy of OpenCompass asks and grades: rounds of examples, joined for base models."""

import json
import random
from hashlib import sha256
from shutil import copytree

import pytest

from lm_eval_codd.benchmarks import DataError
from lm_eval_codd.grading import opencompass
from lm_eval_codd.task_files import read_task_file

GSM8K = ("codd_gsm8k_llada", "codd_gsm8k_llada_base")
MATH = ("codd_math_llada", "codd_math_llada_base")
CODE = ("codd_mbpp_llada", "codd_mbpp_llada_base", "codd_humaneval_llada_base")
CHOICES = ("codd_arc_llada", "codd_hellaswag_llada", "codd_mmlu_pro_llada", "codd_mmlu_llada")
# Those whose configuration is in OpenCompass itself.
OFFICIAL = (*GSM8K, *MATH, *CODE[:2], *CHOICES)
STOPS = {"codd_math_llada_base": ["Problem:"], "codd_mbpp_llada_base": ["[DONE]"]}
# Task 367 cannot pass without its row's `test_setup_code`; of programs that end with a quotation mark it is taken for
# the one behind the program, where `[DONE]` follows.
UNPASSABLE = {"codd_mbpp_llada": {44, 217, 337, 367}, "codd_mbpp_llada_base": {367}}
ASKED = "Question: {question}\nLet's think step by step\nAnswer:"


def messages_of(task, **given):
    """Of the first row, as a chat template gets them."""
    seen = []

    def template(messages, add_generation_prompt):
        assert add_generation_prompt
        seen.append([(message["role"], message["content"]) for message in messages])
        return ""

    task.build_all_requests(apply_chat_template=True, chat_template=template, **given)
    return seen[0]


def text_of(task):
    """The first row's prompt without a chat template."""
    task.build_all_requests()
    return task.instances[0].args[0]


def reference(name, doc):
    """An answer with the reference solution, in the form of the examples."""
    if "canonical_solution" in doc:
        return doc["canonical_solution"]
    return f" '{doc['code']}' \n" if name.endswith("base") else f"[BEGIN]\n '{doc['code']}' \n[DONE] \n\n "


@pytest.fixture
def choices_dir(invented_dir, tmp_path):
    """The invented rows with enough of MMLU's development set."""
    for name in ("arc_challenge", "hellaswag", "mmlu_pro", "mmlu"):
        copytree(invented_dir / name, tmp_path / name)
    rows = [
        {
            "question": f"Example {number} of {subject}?",
            "subject": subject,
            "choices": list("abcd"),
            "answer": number % 4,
        }
        for subject in ("abstract_algebra", "astronomy")
        for number in range(6)
    ]
    (tmp_path / "mmlu" / "dev.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return tmp_path


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


class TestGsm8k:
    @pytest.mark.parametrize(
        ("text", "last", "stated"),
        [
            ("So 3 + 4 = 7. The answer is 7", "7", "7"),
            ("The answer is: -2.50 dollars, of 9", "9", "-2.50"),
            ("THE ANSWER IS\n\n12.", "12", "12"),
            ("9 is left.\nQuestion: what is 3?\nThe answer is 3", "9", "3"),
            ("It is 1,040.", "040", "040"),
            ("The answer is $5", "5", "5"),
            ("Question: 7", None, None),
            ("none", None, None),
        ],
    )
    def test_answers_are_read_as_officially(self, text, last, stated):
        assert (opencompass.last_number(text), opencompass.stated_number(text)) == (last, stated)

    @pytest.mark.parametrize(
        ("answer", "gold", "is_right"),
        [("7", "7", True), ("7.0", "7", True), ("7.1", "7", False), (None, "7", False), ("7", "x", False)],
    )
    def test_numbers_are_compared_as_numbers(self, answer, gold, is_right):
        assert opencompass.is_number(answer, gold) is is_right

    @pytest.mark.parametrize("name", GSM8K)
    def test_gold_answers_are_right_and_others_wrong(self, load_task, score, invented_dir, name):
        task = load_task(name, invented_dir)
        gold = [f"Think.\nThe answer is {opencompass.gold_number(doc['answer'])}\n" for doc in task.eval_docs]
        assert score(task, gold) == {"accuracy,none": 1.0, "unreadable,none": 0.0}
        assert score(task, ["who knows"] * 3) == {"accuracy,none": 0.0, "unreadable,none": 1.0}
        assert score(task, ["The answer is 3.5"] * 3) == {"accuracy,none": 0.0, "unreadable,none": 0.0}

    @pytest.mark.parametrize("name", GSM8K)
    def test_all_gold_solutions_are_right(self, load_task, score, shared_dir, name):
        task = load_task(name, shared_dir / "data")
        assert task.config.metadata["data"]["is_published_set"]
        answers = [f"The answer is {doc['answer'].split('#### ')[1].replace(',', '')}" for doc in task.eval_docs]
        assert score(task, answers)["accuracy,none"] == 1.0


class TestMath:
    def test_is_one_turn_for_instruct_models(self, load_task, invented_dir):
        task = load_task("codd_math_llada", invented_dir)
        asked = (
            f"{task.eval_docs[1]['problem']}\nPlease reason step by step, and put your final answer within \\boxed{{}}."
        )
        task.build_all_requests()
        assert task.instances[1].args[0] == asked

    def test_has_examples_with_doubled_braces_for_base_models(self, load_task, invented_dir):
        task = load_task("codd_math_llada_base", invented_dir)
        text = text_of(task)
        assert text.startswith(
            "Problem:\nFind the domain of the expression $\\frac{{\\sqrt{{x-2}}}}{{\\sqrt{{5-x}}}}$.}}\n"
        )
        assert text.count("\nSolution:\n") == 5 and text.count("I hope it is correct.\n\nProblem:\n") == 4
        assert text.endswith(f"Problem:\n{task.eval_docs[0]['problem']}\nSolution:\n")

    @pytest.mark.parametrize("name", MATH)
    def test_gold_solutions_are_right_and_others_wrong(self, load_task, score, invented_dir, name):
        task = load_task(name, invented_dir)
        assert score(task, [doc["solution"] for doc in task.eval_docs]) == {
            "accuracy,none": 1.0,
            "unreadable,none": 0.0,
        }
        assert score(task, ["It is $\\boxed{6}$."] * 2) == {"accuracy,none": 0.0, "unreadable,none": 0.0}
        assert score(task, [""] * 2) == {"accuracy,none": 0.0, "unreadable,none": 1.0}

    def test_rows_are_those_of_seven_configurations_on_the_hub(self, load_task, monkeypatch):
        asked = []

        def load_dataset(path, name, split, revision):
            asked.append((path, name, split))
            return [{"problem": f"of {name}", "solution": "\\boxed{1}", "level": "Level 1"}] * 2

        monkeypatch.setattr("datasets.load_dataset", load_dataset)
        task = load_task("codd_math_llada", None)
        assert len(asked) == 7 and asked[0] == ("EleutherAI/hendrycks_math", "algebra", "test")
        assert [doc["problem"] for doc in task.eval_docs][1:3] == ["of algebra", "of counting_and_probability"]
        data = task.config.metadata["data"]
        assert data["source"] == "EleutherAI/hendrycks_math (7 configurations, test)"
        assert (data["rows"], data["expected_rows"], data["is_published_set"]) == (14, 5000, False)


class TestGpqa:
    def test_is_one_turn_with_its_examples_inside(self, load_task, invented_dir):
        task = load_task("codd_gpqa_llada", invented_dir)
        doc = task.eval_docs[0]
        ((role, text),) = messages_of(task)
        assert role == "user"
        assert text.startswith("\nHere are some example questions from experts.")
        assert text.count("\nThe correct answer is (") == 5
        shown = "Question:\n{question}\nChoices:\nA. {A}\nB. {B}\nC. {C}\nD. {D}\nWhen you're ready to answer".format(
            **doc
        )
        assert f"The correct answer is (C)\n\n{shown}" in text

    def test_choices_are_shuffled_by_one_generator_row_by_row(self, load_task, shared_dir):
        generator = random.Random(0)
        for doc in load_task("codd_gpqa_llada", shared_dir / "data").eval_docs:
            order = [0, 1, 2, 3]
            generator.shuffle(order)
            assert "ABCD"[order.index(0)] == doc["answer"]
            assert doc["Correct Answer"] == doc[doc["answer"]]

    def test_a_letter_in_braces_becomes_the_choice_as_officially(self):
        values = {"question": "Is $x_{A}$ {B}?", "A": "a {B}", "B": "b {A}", "answer": ""}
        assert opencompass.filled_in(values) == {
            "question": "Is $x_a b {A}$ b {A}?",
            "A": "a b {A}",
            "B": "b {A}",
            "answer": "",
        }

    @pytest.mark.parametrize(
        ("text", "letter"),
        [
            ("So the correct answer is (B).", "B"),
            ("The Correct Answer is ( C ), not\nthe correct answer is (D)", "C"),
            ("The correct answer is (x > 2)", "x > 2"),
            ("The answer is (B)", None),
            ("The correct answer is B", None),
        ],
    )
    def test_the_first_stated_letter_counts(self, text, letter):
        assert opencompass.stated_letter(text) == letter

    def test_scores(self, load_task, score, invented_dir):
        task = load_task("codd_gpqa_llada", invented_dir)
        right = [f"The correct answer is ({doc['answer']})" for doc in task.eval_docs]
        assert score(task, right) == {"accuracy,none": 1.0, "unreadable,none": 0.0}
        assert score(task, ["The correct answer is (E)"] * len(right)) == {"accuracy,none": 0.0, "unreadable,none": 0.0}
        assert score(task, ["B"] * len(right)) == {"accuracy,none": 0.0, "unreadable,none": 1.0}


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
        rows = [row for row, doc in enumerate(docs) if row % every == 0 or doc["task_id"] in failing]
        score(task, [reference(name, docs[row]) for row in rows], rows)
        ended = {i.doc["task_id"]: i.filtered_resps["extract_code"][0][1] for i in task._instances}
        assert len(ended) == len(rows)
        assert {row for row, status in ended.items() if status != "passed"} - {123} == failing


class TestChoices:
    def test_arc_has_rows_of_four_choices(self, load_task, choices_dir):
        task = load_task("codd_arc_llada", choices_dir)
        assert [(doc["id"], doc["answer"]) for doc in task.eval_docs] == [("I_1", "B"), ("I_3", "C")]
        shown = (
            "Question: Which of these gives light of its own?\nA. the Moon\nB. the Sun\nC. a mirror\nD. ice\nAnswer:"
        )
        assert messages_of(task) == [("user", shown)]
        assert task.config.metadata["data"]["rows"] == 2

    def test_hellaswag_is_cleaned_and_without_its_activity(self, load_task, choices_dir):
        task = load_task("codd_hellaswag_llada", choices_dir)
        assert messages_of(task)[0][1] == (
            "A man kneads dough on a table. He\nQuestion: Which ending makes the most sense?\n"
            "A. puts it into the oven.\nB. rides away on a horse.\nC. paints the wall.\nD. falls asleep in a boat.\n"
            "You may choose from 'A', 'B', 'C', 'D'.\nAnswer:"
        )
        shown = task.eval_docs[1]["shown"]["ctx"]
        assert shown == "How to water plants. Fill a can. Use cool water."

    def test_mmlu_pro_is_one_turn_without_options_that_are_none(self, load_task, choices_dir):
        ((_, text),) = messages_of(load_task("codd_mmlu_pro_llada", choices_dir))
        assert text.startswith("Answer the following multiple choice question. The last line of your response should")
        assert text.endswith("\n\nQuestion:\n\nWhich number is prime?\n\nOptions:\n\nA. 4\nB. 6\nC. 7\nD. 9")

    def test_mmlu_has_five_examples_of_the_rows_subject(self, load_task, choices_dir):
        task = load_task("codd_mmlu_llada", choices_dir)
        messages = messages_of(task)
        hint = "There is a single choice question about astronomy. Answer the question by replying A, B, C or D."
        assert task.eval_docs[1]["hint"] == hint.replace("astronomy", "abstract algebra")
        shown = f"{hint}\nQuestion: Example 0 of astronomy?\nA. a\nB. b\nC. c\nD. d\nAnswer: "
        assert messages[:2] == [("user", shown), ("assistant", "A\n")]
        asked = f"{hint}\nQ: Which planet is nearest to the sun?\nA. Venus\nB. Mercury\nC. Mars\nD. Earth\nA: "
        assert messages[-1] == ("user", asked) and len(messages) == 11

    def test_mmlu_with_too_few_examples_is_refused_in_one_line(self, load_task, invented_dir):
        with pytest.raises(DataError, match=r"^codd_mmlu_llada: the development set has 2 rows of astronomy, and 5 "):
            load_task("codd_mmlu_llada", invented_dir).build_all_requests()

    @pytest.mark.parametrize("name", CHOICES)
    def test_scores(self, load_task, score, choices_dir, name):
        task = load_task(name, choices_dir)
        gold = [task.doc_to_target(doc) for doc in task.eval_docs]
        right, wrong = (
            score(task, [f"So.\nANSWER: {letter}" for letter in letters]) for letters in (gold, "B" * len(gold))
        )
        assert (right["accuracy,none"], right["unreadable,none"]) == (1.0, 0.0)
        assert wrong["accuracy,none"] == pytest.approx(gold.count("B") / len(gold))
        nothing = score(task, ["who knows"] * len(gold))
        assert (nothing["accuracy,none"], nothing["unreadable,none"]) == (0.0, 1.0)

    @pytest.mark.parametrize("name", CHOICES[2:])
    def test_of_subjects_are_the_mean_over_them(self, load_task, score, choices_dir, name):
        task = load_task(name, choices_dir)
        gold = [task.doc_to_target(doc) for doc in task.eval_docs]
        scores = score(task, [f"ANSWER: {gold[0]}", "who knows", f"ANSWER: {gold[2]}"])
        assert (scores["accuracy,none"], scores["accuracy_by_subject,none"]) == (pytest.approx(2 / 3), 0.5)

    def test_mmlu_pros_letter_is_a_capital_behind_the_first_answer(self, load_task, score, choices_dir):
        task = load_task("codd_mmlu_pro_llada", choices_dir)
        answers = ["answer : C\nANSWER: A", "ANSWER: a", "The answer is D"]
        scores = score(task, answers)
        assert (scores["accuracy,none"], scores["unreadable,none"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))


class TestBbh:
    def test_scores_letters_and_texts(self, load_task, score, invented_dir):
        task = load_task("codd_bbh_llada_base", invented_dir)
        right = [f"Hm. So the answer is {doc['target']}.\n\nQ: next\nSo the answer is X." for doc in task.eval_docs]
        scores = score(task, right)
        assert (scores["accuracy,none"], scores["accuracy_by_subject,none"]) == (1.0, 1.0)
        scores = score(task, [right[0], *["So the answer is (A)."] * 2, right[3]])
        assert (scores["accuracy,none"], scores["accuracy_by_subject,none"]) == (0.5, pytest.approx(0.5))
        assert score(task, [""] * 4)["unreadable,none"] == 1.0

    @pytest.mark.parametrize(
        ("text", "letter", "line"),
        [
            ("So the answer is (C).\nQ: answer is (D)", "C", "(C)"),
            ("answer is **yes** it is.", "**yes** it is.", "yes"),
            ("The one that fits is B", "T", "The one that fits is B"),
            ("answer is (A or (B)", "A", "(A or (B)"),
            ("answer is  } ] > .\nx", "} ] > .\nx", "} ] >"),
            ("", "", ""),
        ],
    )
    def test_answers_are_read_as_officially(self, text, letter, line):
        assert (opencompass.bbh_choice(text), opencompass.bbh_text(text)) == (letter, line)

    @pytest.mark.parametrize("parts", [["snarks"], ["a part that lm-eval has not"]])
    def test_is_refused_where_lm_eval_has_other_examples(self, load_task, invented_dir, parts):
        kind = type(load_task("codd_bbh_llada_base", invented_dir))
        with pytest.raises(DataError, match=r"^a: the examples of BIG-Bench Hard in this lm-eval are not those"):
            kind({"task": "a", "dataset_kwargs": {"configurations": parts}})


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
