"""Make everything in `lm_eval_codd/demo`: the problems, the tokenizer, the trained backbone and its circuit.

    python scripts/build_demo.py                  # all of it, in order
    python scripts/build_demo.py backbone         # one part

Seeded: the same machine and library versions give the same files again.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
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

from lm_eval_codd.demo import CHECKPOINT, CIRCUIT, HERE
from lm_eval_codd.demo.problems import held_out_problems, training_problems, vocabulary

SEED: Final = 0
BATCH: Final = 64
SHAPE: Final = Shape(layers=4, width=128, mlp_width=384, heads=4, block=32)
# Stopped before it has learned everything: a backbone that is always right leaves a circuit nothing to do.
SCHEDULE: Final = Schedule(steps=2000, decay_steps=3000, batch=BATCH, learning_rate=2e-3)
CIRCUIT_ANSWERS: Final = 20_000
CIRCUIT_TRAINING: Final = CircuitTraining(num_latents=64, ml_epochs=3, steps=400, batch=BATCH, seed=SEED)


def build_data() -> None:
    for split, problems in held_out_problems().items():
        rows = [json.dumps({"question": problem.question, "answer": problem.answer}) for problem in problems]
        (HERE / f"{split}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def build_tokenizer() -> None:
    make_tokenizer(vocabulary(), CHECKPOINT)


def build_backbone() -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(CHECKPOINT)
    model = make_model(SHAPE, tokenizer, SEED)
    train(model, tokenizer, pairs(SEED), SHAPE.block, SCHEDULE)
    save_as_llada(model, tokenizer, CHECKPOINT)


def build_circuit() -> None:
    answers = itertools.islice(pairs(SEED + 1), CIRCUIT_ANSWERS)
    make_circuit(CHECKPOINT, CIRCUIT, answers, SHAPE.block, CIRCUIT_TRAINING)


def pairs(seed: int) -> Iterator[Pair]:
    """An endless stream of training questions and answers."""
    return ((problem.question, problem.answer) for problem in training_problems(seed))


PARTS: Final = {
    "data": build_data,
    "tokenizer": build_tokenizer,
    "backbone": build_backbone,
    "circuit": build_circuit,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="what to make; all of it without a name")
    for part in parser.parse_args().part or PARTS:
        PARTS[part]()


if __name__ == "__main__":
    main()
