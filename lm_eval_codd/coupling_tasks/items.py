"""The items of a task: those that are evaluated, an endless stream to train on, prompts, and the scores of answers.

All are drawn anew wherever they are needed: the same on every machine and Python, for `random.Random` seeded with a
text and its `sample`, `choice` and `randint` are.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from lm_eval_codd.coupling_tasks.registry import COUPLED_TASKS

if TYPE_CHECKING:
    from lm_eval_codd.coupling_tasks.task import Item

__all__ = ["NUM_TEST_ITEMS", "prompt", "score", "test_items", "training_items"]

NUM_TEST_ITEMS: Final = 120
_NUM_EXAMPLES: Final = 2
_FORMAT: Final = "Write the answer alone, on one line."
_ANSWER: Final = "Answer:"


def test_items(task: str) -> list[Item]:
    """The items that are evaluated, all different, none of them an example of the prompt."""
    return _different(task, "test", NUM_TEST_ITEMS, excluded=_examples(task))


def training_items(task: str, seed: int = 0) -> Iterator[Item]:
    """An endless stream of items, none of which is evaluated or an example; it may have an item more than once."""
    held_out = {item.asked for item in [*_examples(task), *test_items(task)]}
    rng = _rng(task, f"train {seed}")
    while True:
        item = COUPLED_TASKS[task].draw(rng)
        if item.asked not in held_out:
            yield item


def prompt(task: str, item: Item) -> str:
    """The instruction, two worked examples (the same for all items) and what is asked, up to `Answer:`."""
    examples = [f"{example.asked}\n{_ANSWER} {example.answer}" for example in _examples(task)]
    return "\n\n".join([f"{COUPLED_TASKS[task].instruction} {_FORMAT}", *examples, f"{item.asked}\n{_ANSWER}"])


def score(task: str, item: Item, text: str) -> dict[str, float]:
    """1 or 0 for each constraint, `correct` (all of them are met) and `unreadable`, which meets none.

    The answer is the first line of the text that is not empty, without blanks around it and without an `Answer:` before
    it. Nothing else is forgiven: case, full stops and further words count.
    """
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    met = COUPLED_TASKS[task].check(item, line.removeprefix(_ANSWER).strip())
    named = COUPLED_TASKS[task].check(item, item.answer) or {}
    is_met = {name: met is not None and met[name] for name in named}
    scores = {"correct": all(is_met.values()), **is_met, "unreadable": met is None}
    return {name: float(value) for name, value in scores.items()}


def _examples(task: str) -> list[Item]:
    return _different(task, "examples", _NUM_EXAMPLES)


def _different(task: str, split: str, number: int, excluded: list[Item] | None = None) -> list[Item]:
    seen = {item.asked for item in excluded or ()}
    rng = _rng(task, split)
    items: list[Item] = []
    while len(items) < number:
        item = COUPLED_TASKS[task].draw(rng)
        if item.asked not in seen:
            seen.add(item.asked)
            items.append(item)
    return items


def _rng(task: str, split: str) -> random.Random:
    return random.Random(f"{task} {split}")
