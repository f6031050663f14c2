"""GPQA, ARC, HellaSwag, MMLU and BIG-Bench Hard as LLaDA's copy of OpenCompass asks and grades them."""

import random
import re

import pytest

from lm_eval_codd.grading import opencompass
from lm_eval_codd.rows import DataError
from tests.tasks.opencompass_tasks import CHOICES, messages_of


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

    def test_a_letter_among_any_marks_is_read_as_by_the_regular_expression(self, times):
        expression = re.compile(r"the correct answer is \(([^)]+)\)", re.IGNORECASE)
        marks = (
            "the correct answer is (",
            "The Correct An\u017fwer is (",
            "THE correct",
            "(",
            ")",
            "()",
            "A",
            "\n",
            " ",
            "x",
        )
        draw = random.Random(0)
        for _ in range(times(5000, 100_000)):
            text = "".join(draw.choices(marks, k=draw.randrange(14)))
            found = expression.search(text)
            assert opencompass.stated_letter(text) == (found and found.group(1).strip()), text

    def test_scores(self, load_task, score, invented_dir):
        task = load_task("codd_gpqa_llada", invented_dir)
        right = [f"The correct answer is ({doc['answer']})" for doc in task.eval_docs]
        assert score(task, right) == {"accuracy,none": 1.0, "unreadable,none": 0.0}
        assert score(task, ["The correct answer is (E)"] * len(right)) == {"accuracy,none": 0.0, "unreadable,none": 0.0}
        assert score(task, ["B"] * len(right)) == {"accuracy,none": 0.0, "unreadable,none": 1.0}


class TestChoices:
    def test_arc_has_rows_of_four_choices(self, load_task, choices_dir):
        task = load_task("codd_arc_llada", choices_dir)
        assert [(doc["id"], doc["answer"]) for doc in task.eval_docs] == [("I_1", "B"), ("I_3", "C")]
        shown = (
            "Question: Which of these gives light of its own?\nA. the Moon\nB. the Sun\nC. a mirror\nD. ice\nAnswer:"
        )
        assert messages_of(task) == [("user", shown)]
        assert task.config.metadata["data"]["rows"] == 2

    def test_arc_without_its_choices_is_refused_in_one_line(self, load_task, choices_dir):
        (choices_dir / "arc_challenge" / "validation.jsonl").write_text('{"id": "I_1"}\n')
        with pytest.raises(DataError, match=r"^codd_arc_llada: row 1 of .* has no question, choices, answerKey; give "):
            load_task("codd_arc_llada", choices_dir)

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
