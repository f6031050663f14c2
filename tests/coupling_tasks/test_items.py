"""Generated items: every right answer passes, whatever breaks a constraint fails it, and they are always the same."""

import hashlib
import itertools
import math
import random
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from lm_eval_codd.coupling_tasks.items import NUM_TEST_ITEMS, prompt, score, test_items, training_items
from lm_eval_codd.coupling_tasks.phrasing import FORMS
from lm_eval_codd.coupling_tasks.registry import COUPLED_TASKS
from lm_eval_codd.coupling_tasks.words import NAMES, THINGS, joined

test_items.__test__ = False
JOINT = [name for name, task in COUPLED_TASKS.items() if task.is_joint]
CONTROLS = [name for name in COUPLED_TASKS if name not in JOINT]
README = Path(__file__).parents[2] / "tasks" / "README.md"
# In percent, as tasks/README.md has them.
ONE_STEP = {
    "shuffle": 4.75,
    "insert_anywhere": 8.58,
    "replace_anywhere": 41.1,
    "latin_square": 1.34e-05,
    "phrasing": 0.122,
}
IN_ORDER = [name for name in COUPLED_TASKS if name not in ("latin_square", "phrasing")]


def right_answers(task, item):
    """Every right answer, from the definition of the task; of Latin squares all 576."""
    given, new = item.given, item.new
    size = range(len(given))
    if task == "shuffle":
        return {joined(order) for order in itertools.permutations(given)} - {joined(given)}
    if task == "insert_anywhere":
        return {joined([*given[:i], new, *given[i:]]) for i in range(len(given) + 1)}
    if task == "replace_anywhere":
        return {joined([*given[:i], new, *given[i + 1 :]]) for i in size}
    if task == "latin_square":
        rows = list(itertools.permutations(given))
        squares = [()]
        for _ in size:
            squares = [
                (*square, row)
                for square in squares
                for row in rows
                if all(a != b for other in square for a, b in zip(other, row, strict=True))
            ]
        return {joined([" ".join(row) for row in square]) for square in squares}
    if task == "phrasing":
        return {form.format(name=given[0], thing=given[1]) for form in FORMS}
    if task == "copy":
        return {joined(given)}
    if task == "sort":
        return {joined(sorted(given))}
    if task == "reverse":
        return {joined(list(reversed(given)))}
    place = int(item.asked.rsplit("Place: ", 1)[1]) - 1
    behind = given[place:] if task == "insert_at" else given[place + 1 :]
    return {joined([*given[:place], new, *behind])}


def mutations(task, answer):
    """The answer with one word replaced, left out, doubled, or changed with its neighbour."""
    if task == "latin_square":
        others, split, join = ["Z", "Q", *answer.replace(",", "").split()[:4]], str.split, " ".join
    elif task == "phrasing":
        others, split, join = ["the", "is", NAMES[0], NAMES[1], THINGS[0]], str.split, " ".join
    else:
        others, split, join = [*NAMES[:3], *answer.split(", ")[:2]], lambda text: text.split(", "), joined
    words = split(answer)
    for place, word in enumerate(words):
        for other in others:
            tail = word[len(word.rstrip(",.")) :]
            yield join([*words[:place], other + tail, *words[place + 1 :]])
        yield join([*words[:place], *words[place + 1 :]])
        yield join([*words[:place], word, *words[place:]])
        if place:
            yield join([*words[: place - 1], word, words[place - 1], *words[place + 1 :]])


@pytest.mark.parametrize("task", COUPLED_TASKS)
class TestScores:
    def test_of_the_generators_own_answers_are_one(self, task):
        for item in test_items(task):
            scores = score(task, item, f" {item.answer}")
            assert scores.pop("unreadable") == 0.0
            assert set(scores.values()) == {1.0}

    def test_of_every_right_answer_are_one(self, task):
        for item in test_items(task)[:8]:
            right = right_answers(task, item)
            assert item.answer in right
            assert (len(right) > 1) is COUPLED_TASKS[task].is_joint
            assert all(score(task, item, answer)["correct"] for answer in right)

    def test_of_an_answer_with_one_token_changed_are_one_only_where_it_is_right_too(self, task):
        wrong = 0
        for item in test_items(task)[:8]:
            right = right_answers(task, item)
            for answer in random.Random(0).sample(sorted(right), min(len(right), 4)):
                for changed in mutations(task, answer):
                    scores = score(task, item, changed)
                    assert scores["correct"] == (changed in right), changed
                    met = [value for name, value in scores.items() if name not in ("correct", "unreadable")]
                    assert scores["correct"] == min(met)
                    wrong += changed not in right
        assert wrong > 100

    def test_of_nothing_and_of_another_form_are_zero(self, task):
        item = test_items(task)[0]
        for text in ("", "\n \n", "Answer:"):
            scores = score(task, item, text)
            assert scores.pop("unreadable") == 1.0
            assert set(scores.values()) == {0.0}
        for text in (item.answer.lower(), f"Sure! {item.answer}", f"{item.answer} Done", f"`{item.answer}`"):
            assert score(task, item, text)["correct"] == 0.0

    def test_read_the_first_line_that_is_not_empty(self, task):
        item, other = test_items(task)[:2]
        assert score(task, item, f"\n\n  Answer: {item.answer}  \n\n{other.answer}")["correct"] == 1.0
        assert score(task, item, f"Here it is:\n{item.answer}")["correct"] == 0.0


class TestConstraints:
    @pytest.mark.parametrize(
        ("task", "change", "met"),
        [
            *[(name, lambda words: [*words[:-1], "Zoe"], {"words": 0.0, "order": 1.0}) for name in IN_ORDER[1:]],
            *[(name, lambda words: [*words[2:], *words[:2]], {"words": 1.0, "order": 0.0}) for name in IN_ORDER[1:]],
            ("shuffle", lambda words: [*words[:-1], "Zoe"], {"words": 0.0}),
            ("shuffle", lambda words: [*words[:-1], words[0]], {"words": 0.0}),
        ],
    )
    def test_of_lists_are_scored_apart(self, task, change, met):
        for item in test_items(task)[:8]:
            scores = score(task, item, joined(change(item.answer.split(", "))))
            assert met.items() <= scores.items(), (item, scores)
            assert scores["correct"] == 0.0

    def test_of_a_list_that_was_not_shuffled_is_its_order(self):
        for item in test_items("shuffle"):
            scores = score("shuffle", item, joined(item.given))
            assert (scores["words"], scores["order"], scores["correct"]) == (1.0, 0.0, 0.0)

    @pytest.mark.parametrize(
        ("square", "met"),
        [
            ("0 1 2 3, 0 1 2 3, 0 1 2 3, 0 1 2 3", (1.0, 1.0, 0.0)),
            ("0 0 0 0, 1 1 1 1, 2 2 2 2, 3 3 3 3", (1.0, 0.0, 1.0)),
            ("? 1 2 3, 1 ? 3 2, 2 3 ? 1, 3 2 1 ?", (0.0, 1.0, 1.0)),
        ],
    )
    def test_of_a_latin_square_are_its_letters_rows_and_columns(self, square, met):
        item = test_items("latin_square")[0]
        for number, letter in enumerate(item.given):
            square = square.replace(str(number), letter)
        scores = score("latin_square", item, square)
        assert (scores["words"], scores["rows"], scores["columns"]) == met
        assert scores["correct"] == 0.0

    def test_of_a_latin_square_need_four_rows_of_four(self):
        item = test_items("latin_square")[0]
        rows = item.answer.split(", ")
        for wrong in (rows[:3], [*rows, rows[0]], [*rows[:3], "A B C"], [row.replace(" ", "") for row in rows]):
            assert score("latin_square", item, joined(wrong))["unreadable"] == 1.0

    def test_of_a_phrasing_are_its_form_and_who_and_what(self):
        item = test_items("phrasing")[0]
        name, thing = item.given
        other = next(one for one in NAMES if one != name)
        for text, met in (
            (f"{other} is the owner of the {thing}.", (0.0, 1.0)),
            (f"{name} is the owner of the {thing} now.", (1.0, 0.0)),
            (f"It is {thing} who owns the {name}.", (1.0, 0.0)),
            (f"The owner of the {thing} is owned by {name} now.", (1.0, 0.0)),
        ):
            scores = score("phrasing", item, text)
            assert (scores["words"], scores["form"], scores["correct"]) == (*met, 0.0)


@pytest.mark.parametrize("task", COUPLED_TASKS)
class TestItems:
    def test_are_different_and_none_is_trained_on_or_an_example(self, task):
        asked = [item.asked for item in test_items(task)]
        assert len(set(asked)) == len(asked) == NUM_TEST_ITEMS >= 100
        for seed in (0, 1):
            trained = {item.asked for item in itertools.islice(training_items(task, seed), 3000)}
            assert not trained & set(asked)
        examples = prompt(task, test_items(task)[0]).split("\n\n")[1:-1]
        assert len(examples) == 2
        assert not {example.rsplit("\n", 1)[0] for example in examples} & {*asked, *trained}

    def test_to_train_on_differ_by_seed(self, task):
        streams = [[item.asked for item in itertools.islice(training_items(task, seed), 20)] for seed in (0, 0, 1)]
        assert streams[0] == streams[1] != streams[2]

    def test_prompts_end_where_the_answer_begins_and_have_right_examples(self, task):
        item = test_items(task)[0]
        instruction, *examples, last = prompt(task, item).split("\n\n")
        assert instruction.startswith(COUPLED_TASKS[task].instruction)
        assert last == f"{item.asked}\nAnswer:"
        assert all("\nAnswer: " in example for example in examples)


def one_step(task, item):
    """How often words that are drawn apart, each with its share among the right answers, make a right answer."""
    answers = [answer.split() for answer in right_answers(task, item)]
    assert len({len(words) for words in answers}) == 1
    shares = [Counter(place) for place in zip(*answers, strict=True)]
    counts = (math.prod(share[word] for share, word in zip(shares, words, strict=True)) for words in answers)
    return sum(counts) / len(answers) ** len(shares)


class TestDependence:
    @pytest.mark.parametrize("task", CONTROLS)
    def test_of_controls_is_none(self, task):
        assert all(one_step(task, item) == 1.0 for item in test_items(task))

    @pytest.mark.parametrize(("task", "share"), ONE_STEP.items())
    def test_of_joint_answers_is_what_the_table_of_the_tasks_says(self, task, share):
        items = test_items(task)[: 1 if task == "latin_square" else None]  # of squares all items are alike
        assert 100 * statistics.fmean(one_step(task, item) for item in items) == pytest.approx(share, rel=0.02)
        assert f"| {share:g} |" in README.read_text(encoding="utf-8")


def test_phrasings_are_of_as_many_words_each():
    assert len({len(form.split()) for form in FORMS}) == 1


def test_items_do_not_depend_on_the_process():
    code = (
        "from lm_eval_codd.coupling_tasks.items import test_items\n"
        "from lm_eval_codd.coupling_tasks.registry import COUPLED_TASKS\n"
        "print(*[(item.asked, item.answer) for task in COUPLED_TASKS for item in test_items(task)], sep='\\n')"
    )
    outputs = {
        hashlib.sha256(
            subprocess.run(
                [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
            ).stdout
        ).hexdigest()
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
