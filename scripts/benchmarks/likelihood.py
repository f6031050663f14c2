"""Likelihood requests a second, against the official loop on the same model and through the same masks."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

import lm_eval_codd as codd
from benchmarks.arguments import whole
from benchmarks.model import Shape, random_backbone, random_prompts
from benchmarks.table import Row, say
from lm_eval_codd.likelihood.asking import Target
from lm_eval_codd.likelihood.draws import of_counts, of_positions
from lm_eval_codd.likelihood.mc import official_ladder, side_by_side
from lm_eval_codd.tensors.noise import row_keys
from tests.official_likelihood import reference_likelihood

if TYPE_CHECKING:
    from lm_eval_codd.backbones.backbone import Backbone

_SEED = 0
# Tokens of a question's four choices, as in ARC: a word to a phrase.
_CHOICES = ((1, 1, 2, 3), (2, 3, 3, 5), (4, 6, 7, 9), (8, 9, 11, 12))

Pair = tuple[list[int], list[int]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `bench.py likelihood`."""
    parser.add_argument("--layers", type=whole(1), default=4)
    parser.add_argument("--width", type=whole(8), default=256)
    parser.add_argument("--vocab-size", type=whole(512), default=126464, help="LLaDA's")
    parser.add_argument("--prompt-length", type=whole(1), default=60)
    parser.add_argument("--questions", type=whole(1), default=4, help="of four choices each, one to twelve tokens long")
    parser.add_argument("--num-samples", type=whole(1), default=32, help="masks of a target, a multiple of 8")
    parser.add_argument("--batch-size", type=whole(1), default=32, help="canvases in a pass")


def run(arguments: argparse.Namespace) -> list[Row]:
    """Figures on the GPU where there is one, else on the CPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    shape = Shape(
        arguments.layers, arguments.width, max(1, arguments.width // 64), 4 * arguments.width, arguments.vocab_size
    )
    backbone = random_backbone(shape, dtype, device, max_length=1024, seed=_SEED)
    pairs = _pairs(backbone, arguments.questions, arguments.prompt_length)
    config = codd.LikelihoodConfig(ladder="official", num_samples=arguments.num_samples, ladder_size=8, seed=_SEED)
    codd.log_likelihood(backbone, pairs[:1], config)  # warm
    say(f"the official loop, {len(pairs)} targets")
    official, seconds = _official(backbone, pairs, config)
    rows = []
    for name, settings, goal in (
        ("same_masks", config, ">= 5"),
        ("unbiased", codd.LikelihoodConfig(num_samples=arguments.num_samples), ""),
    ):
        say(f"log_likelihood, {name}")
        started = time.perf_counter()
        likelihoods = codd.log_likelihood(backbone, pairs, settings, batch_size=arguments.batch_size)
        took = time.perf_counter() - started
        forwards = sum(one.num_forward for one in likelihoods) / len(pairs)
        rows += [
            Row(f"likelihood.{name}.ratio", seconds / took, "x", goal, f"{shape}, {device.type}"),
            Row(f"likelihood.{name}.requests_per_second", len(pairs) / took, "1/s"),
            Row(f"likelihood.{name}.forwards", forwards, "", note=f"a target, of {arguments.num_samples} masks"),
        ]
        if settings is config:
            worst = max(abs(one.value - value) for one, value in zip(likelihoods, official, strict=True))
            rows.append(
                Row("likelihood.largest_difference", worst, "nats", "<= 0.01" if dtype == torch.float32 else "")
            )
    return [Row("likelihood.official.requests_per_second", len(pairs) / seconds, "1/s"), *rows]


def _pairs(backbone: Backbone, questions: int, prompt_length: int) -> list[Pair]:
    lengths = [length for number in range(questions) for length in _CHOICES[number % len(_CHOICES)]]
    prompts = random_prompts(backbone, [prompt_length] * questions, _SEED)
    targets = random_prompts(backbone, lengths, _SEED + 1)
    return [(prompts[index // 4], target) for index, target in enumerate(targets)]


def _official(backbone: Backbone, pairs: Sequence[Pair], config: codd.LikelihoodConfig) -> tuple[list[float], float]:
    """Values and seconds, through the masks that `log_likelihood` draws."""
    values, seconds = [], 0.0
    for prompt, tokens in pairs:
        target = Target(torch.tensor(tokens), len(prompt), row_keys(config.seed, [prompt], [0], torch.device("cpu")))
        ladders = [
            _masks(target, number, config.ladder_size) for number in range(config.num_samples // config.ladder_size)
        ]
        started = time.perf_counter()
        values.append(
            reference_likelihood(
                *(backbone, prompt, tokens, config.num_samples, config.ladder_size),
                draw=lambda number, size, length, ladders=ladders: ladders[number],
            )
        )
        seconds += time.perf_counter() - started
    return values, seconds


def _masks(target: Target, number: int, size: int) -> torch.Tensor:
    draws = range(number * size, (number + 1) * size)
    numbers = official_ladder(of_counts(target, draws), len(target))
    return side_by_side(of_positions(target, draws), numbers, 1)
