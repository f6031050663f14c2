import itertools
import json
import random
import re

import pytest

from lm_eval_codd.demo import HERE, load_split
from lm_eval_codd.demo.problems import (
    LARGEST,
    NAMES,
    PHRASINGS,
    SMALLEST,
    STORIES,
    THINGS,
    draw_problem,
    held_out_problems,
    training_problems,
    vocabulary,
)

WORDS = re.compile(r"\w+|[^\w\s]+")


def draw_many(seed, count=2000):
    rng = random.Random(seed)
    return [draw_problem(rng) for _ in range(count)]


class TestGenerator:
    def test_the_same_seed_draws_the_same_problems(self):
        assert draw_many(1, 50) == draw_many(1, 50)
        assert draw_many(1, 50) != draw_many(2, 50)

    def test_the_global_random_state_is_neither_read_nor_changed(self):
        random.seed(5)
        before = random.getstate()
        first = list(itertools.islice(training_problems(3), 20))
        assert random.getstate() == before
        random.seed(6)
        assert list(itertools.islice(training_problems(3), 20)) == first

    def test_every_story_and_every_phrasing_is_drawn(self):
        problems = draw_many(0)
        assert {problem.numbers[0] for problem in problems} == set(range(len(STORIES)))
        blank = re.compile("|".join([r"\d+", "[-+*]", *NAMES, *THINGS]))
        assert len({blank.sub("_", problem.answer) for problem in problems}) == len(PHRASINGS)

    def test_every_answer_follows_from_its_question(self):
        sign = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}
        for problem in draw_many(4):
            which, a, b, c = problem.numbers
            assert re.findall(r"\d+", problem.question) == [str(a), str(b), str(c)]
            middle = sign[STORIES[which].first](a, b)
            result = sign[STORIES[which].second](middle, c)
            assert problem.result == result
            assert problem.answer.endswith(f"#### {result}")
            assert {int(n) for n in re.findall(r"\d+", problem.answer)} == {a, b, c, middle, result}
            assert all(SMALLEST <= number <= LARGEST for number in (middle, result))

    def test_the_vocabulary_is_small_and_holds_every_word(self):
        words = set(vocabulary())
        assert len(words) < 100
        for problem in draw_many(7):
            assert set(WORDS.findall(f"{problem.question} {problem.answer}")) <= words


class TestSplits:
    def test_no_question_is_in_two_splits(self):
        splits = held_out_problems()
        questions = [problem.question for problems in splits.values() for problem in problems]
        assert len(questions) == len(set(questions)) == 600
        assert not set(questions) & {problem.question for problem in itertools.islice(training_problems(0), 20000)}

    @pytest.mark.parametrize("split", ["tune", "test"])
    def test_the_shipped_file_is_what_the_generator_makes(self, split):
        made = [{"question": problem.question, "answer": problem.answer} for problem in held_out_problems()[split]]
        assert load_split(split) == made
        assert len(made) == 300
        assert [json.loads(line) for line in (HERE / f"{split}.jsonl").read_text().splitlines()] == made

    def test_an_unknown_split_is_one_clear_line(self):
        with pytest.raises(ValueError, match="`split=train` is not known; use one of tune, test"):
            load_split("train")
