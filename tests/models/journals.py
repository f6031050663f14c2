"""Journals with answers that no model gave, and a short evaluation that fills one."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lm_eval_codd.decoding import Generation
from lm_eval_codd.models.journal import Journal, Kept, Keys

HERE = {"device_name": "here", "versions": {"torch": "1"}}
SHORT = {"num_steps": 4, "gen_length": 16, "block_length": 8, "device": "cpu", "batch_size": 2}
PROMPTS = ["a", "bb bb", "c" * 9, "d" * 9, "e", "ff ff", "g" * 20]


def opened(folder: Path, surroundings: dict[str, Any] = HERE) -> Journal:
    """A journal that answers are looked up in and added to."""
    journal = Journal(folder)
    journal.start(surroundings)
    return journal


def answer(seed: int, length: int = 24) -> Kept[Generation]:
    """Of some kind, another for each seed."""
    generator = random.Random(seed)
    tokens = [generator.randrange(500) for _ in range(length // 2)]
    return Kept(Generation(tokens + [499] * (length - len(tokens)), length // 2, 8, 3, 1), seconds=seed / 8)


def write(folder: Path, seeds: Iterable[int], per_batch: int = 2) -> Path:
    """A journal file of one process, closed."""
    journal = opened(folder)
    seeds = list(seeds)
    for start in range(0, len(seeds), per_batch):
        journal.add((key(seed), answer(seed)) for seed in seeds[start : start + per_batch])
    journal.close()
    return next(iter(folder.glob("*.jsonl")))


def key(seed: int) -> str:
    """Of the answer of that seed."""
    return Keys({}).of([seed], 0)


def num_whole_answers(folder: Path) -> int:
    """Answers in a folder's files, for numbers that the journal itself has not counted."""
    lines = [line for file in folder.iterdir() for line in file.read_bytes().splitlines(keepends=True)]
    return sum(line.startswith(b'{"key"') and line.endswith(b'"}\n') for line in lines)
