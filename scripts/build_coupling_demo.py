"""Make everything in `lm_eval_codd/demo/coupling`: a tokenizer, a backbone and a circuit for the ten coupling tasks.

    python scripts/build_coupling_demo.py              # all of it, in order
    python scripts/build_coupling_demo.py circuit      # one part
    python scripts/build_coupling_demo.py tune         # how settings do on items of another seed; writes nothing

The backbone learns from `training_items` of all tasks, whose questions are never those that are evaluated. The shipped
weights went through these stages on two processes of half a batch each, so that a run makes a like model, not the same
bytes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Final

from tiny_llada import (
    CircuitTraining,
    Pair,
    Schedule,
    Shape,
    make_circuit,
    make_model,
    make_tokenizer,
    save_as_llada,
    train,
)
from transformers import PreTrainedTokenizerFast

import lm_eval_codd as codd
from lm_eval_codd.coupling_tasks.items import prompt, score, training_items
from lm_eval_codd.coupling_tasks.registry import COUPLED_TASKS
from lm_eval_codd.coupling_tasks.words import NAMES, THINGS
from lm_eval_codd.demo.packaged import CHECKPOINTS, CIRCUITS

NAME: Final = "demo_coupling"
CHECKPOINT: Final = CHECKPOINTS[NAME]
CIRCUIT: Final = CIRCUITS[NAME]

# Seeds of training_items: the backbone's, the circuit's, and of the items that settings are chosen on.
SEED, CIRCUIT_SEED, TUNING_SEED = 0, 1, 2
# The longest answer, a Latin square, has 19 words and signs; the end token is the 20th.
SHAPE: Final = Shape(layers=4, width=128, mlp_width=384, heads=4, block=20, tied=True, rope_theta=100.0)
ALL: Final = tuple(COUPLED_TASKS)
CIRCUIT_ANSWERS: Final = 12_000
CIRCUIT_TRAINING: Final = CircuitTraining(num_latents=128, ml_epochs=4, steps=80, batch=60, seed=SEED)

TUNING_ITEMS: Final = 20
TUNING_STEPS: Final = (1, 2, 4)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of the backbone's training: on these tasks, as often as named, with or without the worked examples."""

    tasks: Sequence[str] = ALL
    has_examples: bool = False
    schedule: Schedule


def rates(steps: int, decay_steps: int, *, factor: float = 1.0) -> Schedule:
    """A schedule at the usual learning rates, or a multiple of them."""
    return Schedule(
        steps=steps, decay_steps=decay_steps, batch=60, learning_rate=2e-3 * factor, matrices_rate=4e-3 * factor
    )


# Where a word went is learned within 300 steps on copying alone, and not within 1400 among ten tasks. Questions
# without the worked examples are half as long.
STAGES: Final = (
    Stage(schedule=rates(500, 2500, factor=1.5)),
    Stage(schedule=rates(900, 3100)),
    Stage(tasks=("copy",), schedule=rates(300, 400)),
    Stage(tasks=("copy", "reverse", "replace_at", "insert_at", "insert_anywhere"), schedule=rates(400, 500)),
    Stage(schedule=rates(550, 900)),
    Stage(has_examples=True, schedule=rates(50, 150, factor=0.35)),
    Stage(has_examples=True, schedule=rates(300, 300)),
    Stage(
        tasks=(*("phrasing",) * 4, "shuffle", "sort", "latin_square", "insert_anywhere", "replace_at", "reverse"),
        has_examples=True,
        schedule=rates(170, 170),
    ),
    Stage(schedule=rates(2200, 2200)),
    Stage(has_examples=True, schedule=rates(700, 700, factor=0.6)),
)


def build_tokenizer() -> None:
    make_tokenizer(vocabulary(), CHECKPOINT)
    defaults = {"lm_eval_codd": {"gen_length": SHAPE.block}}
    (CHECKPOINT / "generation_config.json").write_text(json.dumps(defaults, indent=2) + "\n", encoding="utf-8")


def build_backbone() -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(CHECKPOINT)
    model = make_model(SHAPE, tokenizer, SEED)
    for number, stage in enumerate(STAGES):
        rows = pairs(SEED + 100 * number, stage.tasks)
        if not stage.has_examples:
            rows = ((without_examples(question), answer) for question, answer in rows)
        train(model, tokenizer, rows, SHAPE.block, stage.schedule)
    save_as_llada(model, tokenizer, CHECKPOINT)


def build_circuit() -> None:
    answers = itertools.islice(pairs(CIRCUIT_SEED), CIRCUIT_ANSWERS)
    make_circuit(CHECKPOINT, CIRCUIT, answers, SHAPE.block, CIRCUIT_TRAINING)


def pairs(seed: int, tasks: Sequence[str] = ALL) -> Iterator[Pair]:
    """An endless stream of prompts and answers of these tasks, as often as they are named and in no order."""
    streams = {task: training_items(task, seed) for task in tasks}
    rng = random.Random(seed)
    while True:
        for task in rng.sample(tasks, len(tasks)):
            item = next(streams[task])
            yield prompt(task, item), item.answer


def without_examples(question: str) -> str:
    """A prompt without the worked examples between its instruction and what is asked."""
    instruction, *_, asked = question.split("\n\n")
    return f"{instruction}\n\n{asked}"


def vocabulary() -> list[str]:
    """Every word, number and sign that a prompt or an answer can hold, sorted."""
    items = [(task, item) for task in COUPLED_TASKS for item in itertools.islice(training_items(task), 20)]
    texts = [f"{prompt(task, item)} {item.answer}" for task, item in items]
    words = {word for text in texts for word in re.findall(r"\w+|[^\w\s]+", text)}
    return sorted({*words, *NAMES, *THINGS, *ascii_uppercase, *map(str, range(1, 8))})


def tune() -> None:
    """Print right answers of each task, by settings, on items that are neither trained on nor evaluated."""
    backbone = codd.load_backbone(NAME)
    circuit = codd.load_circuit(NAME)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(CHECKPOINT)
    items = [
        (task, item)
        for task in COUPLED_TASKS
        for item in itertools.islice(training_items(task, TUNING_SEED), TUNING_ITEMS)
    ]
    chats = [[{"role": "user", "content": prompt(task, item)}] for task, item in items]
    texts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
    prompts = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    for steps in TUNING_STEPS:
        for coupled in ({}, {"pc_temperature": 0.7}, {"pc_temperature": 1.0}):
            settings = {**coupled, **({"pc_frac": 1.1} if coupled else {})}
            config = codd.DecodingConfig(gen_length=SHAPE.block, block_length=SHAPE.block, num_steps=steps, **settings)
            outputs = codd.generate(backbone, prompts, config, circuit if coupled else None, batch_size=50)
            right = dict.fromkeys(COUPLED_TASKS, 0)
            for (task, item), output in zip(items, outputs, strict=True):
                answer = tokenizer.decode(output.tokens[: output.num_answer_tokens], skip_special_tokens=True)
                right[task] += score(task, item, answer)["correct"] == 1
            given = " ".join(f"{name}={value}" for name, value in settings.items()) or "backbone"
            shares = " ".join(f"{task} {100 * number / TUNING_ITEMS:.0f}" for task, number in right.items())
            print(f"{steps:2} steps, {given}: {shares}", flush=True)


PARTS: Final[dict[str, Callable[[], None]]] = {
    "tokenizer": build_tokenizer,
    "backbone": build_backbone,
    "circuit": build_circuit,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", choices=[*PARTS, "tune", []], help="what to make; all of it without a name")
    for part in parser.parse_args().part or PARTS:
        {**PARTS, "tune": tune}[part]()


if __name__ == "__main__":
    main()
