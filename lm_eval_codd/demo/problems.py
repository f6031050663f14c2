"""Generated arithmetic word problems, each answered in one of several phrasings.

A question does not say which phrasing its answer takes, so the same position of an answer can hold quite different
words: predicted independently of each other, in parallel, tokens of different phrasings mix and the answer breaks.
That is the error a circuit over the block can repair, and few denoising steps provoke.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

NAMES: Final = ("Anna", "Ben", "Clara", "David", "Emma", "Frank")
THINGS: Final = ("apples", "books", "coins", "eggs", "pens", "shells")
SMALLEST: Final = 2
LARGEST: Final = 20
LARGEST_C: Final = 10
HELD_OUT: Final = {"tune": 300, "test": 300}
HELD_OUT_SEED: Final = 0


class Story(NamedTuple):
    """A question with three numbers `a`, `b`, `c`, solved as (a first b) second c; `a` and `b` have largest values."""

    question: str
    first: str
    second: str
    largest_a: int
    largest_b: int


STORIES: Final = (
    Story("{name} has {a} {things}. {name} buys {b} more and loses {c}. How many are left?", "+", "-", 10, 10),
    Story("{name} has {a} {things}. {name} loses {b} and then finds {c}. How many are there now?", "-", "+", 20, 10),
    Story("{name} has {a} {things}. {name} drops {b} and sells {c}. How many are left?", "-", "-", 20, 10),
    Story("{name} has {a} bags of {b} {things} and {c} more. How many are there in all?", "*", "+", 5, 9),
    Story("{name} has {a} bags of {b} {things} and sells {c}. How many are left?", "*", "-", 5, 9),
)

# Different lengths, orders and offsets, so that no position of an answer has one word of its own; each with its
# weight. The first is the likeliest, so that some answers stay whole even at few steps.
PHRASINGS: Final = {
    "First {a} {first} {b} = {m}. Then {m} {second} {c} = {n}. #### {n}": 4,
    "{name} has {a} {first} {b} = {m} {things}, and then {m} {second} {c} = {n}. #### {n}": 3,
    "We know that {a} {first} {b} = {m}, so {name} has {m} {second} {c} = {n} {things}. #### {n}": 2,
    "The answer is {m} {second} {c} = {n} {things}, because {m} = {a} {first} {b}. #### {n}": 2,
    "Take {a} {first} {b} to get {m}, and take {m} {second} {c} to get {n} {things}. #### {n}": 1,
}


@dataclass(frozen=True)
class Problem:
    """One word problem.

    Attributes:
        question: what the user asks.
        answer: the worked answer, ending in `#### result`.
        result: the number asked for.
        numbers: index of the story, then a, b and c.
    """

    question: str
    answer: str
    result: int
    numbers: tuple[int, int, int, int]


def draw_problem(rng: random.Random) -> Problem:
    """A random problem; the same state of `rng` gives the same problem. Its numbers lie in `SMALLEST`..`LARGEST`."""
    which = rng.randrange(len(STORIES))
    story = STORIES[which]
    while True:
        a, b = rng.randint(SMALLEST, story.largest_a), rng.randint(SMALLEST, story.largest_b)
        c = rng.randint(SMALLEST, LARGEST_C)
        m = _apply(a, story.first, b)
        n = _apply(m, story.second, c)
        if SMALLEST <= m <= LARGEST and SMALLEST <= n <= LARGEST:
            break
    words = dict(story._asdict(), name=rng.choice(NAMES), things=rng.choice(THINGS), a=a, b=b, c=c, m=m, n=n)
    phrasing = rng.choices(list(PHRASINGS), weights=list(PHRASINGS.values()))[0]
    return Problem(story.question.format(**words), phrasing.format(**words), n, (which, a, b, c))


def held_out_problems() -> dict[str, list[Problem]]:
    """The `tune` and `test` problems. No question appears twice, within a split or across them."""
    rng = random.Random(HELD_OUT_SEED)
    seen: set[str] = set()
    splits: dict[str, list[Problem]] = {}
    for split, size in HELD_OUT.items():
        splits[split] = []
        while len(splits[split]) < size:
            problem = draw_problem(rng)
            if problem.question not in seen:
                seen.add(problem.question)
                splits[split].append(problem)
    return splits


def training_problems(seed: int) -> Iterator[Problem]:
    """An endless stream of training problems that never has a held-out question."""
    held_out = {problem.question for problems in held_out_problems().values() for problem in problems}
    rng = random.Random(seed)
    while True:
        problem = draw_problem(rng)
        if problem.question not in held_out:
            yield problem


def vocabulary() -> list[str]:
    """Every word, number and sign that a question or an answer can hold, sorted."""
    blanks = {name: "" for name in ("name", "things", "a", "b", "c", "m", "n", "first", "second")}
    texts = [story.question.format(**blanks) for story in STORIES] + [text.format(**blanks) for text in PHRASINGS]
    words = {word.strip(".,?") for text in texts for word in text.split()} - {""}
    numbers = [str(number) for number in range(SMALLEST, LARGEST + 1)]
    return [*numbers, *sorted({*words, *NAMES, *THINGS, *".,?+-*"})]


def _apply(left: int, sign: str, right: int) -> int:
    return {"+": left + right, "-": left - right, "*": left * right}[sign]
