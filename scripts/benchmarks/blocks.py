"""The block decoder: finished blocks that are kept against computing them anew, and where its time goes."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

import lm_eval_codd as codd
from benchmarks.arguments import whole
from benchmarks.model import Shape, random_backbone, random_prompts
from benchmarks.parts import watched
from benchmarks.table import Row, say
from benchmarks.timing import wait
from lm_eval_codd.backbones.backbone import Backbone
from lm_eval_codd.backbones.families.llada import LLADA
from lm_eval_codd.backbones.token_ids import TokenIds

_SEED = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `bench.py blocks`."""
    parser.add_argument("--layers", type=whole(1), default=8, help="of a random backbone with LLaDA's trunk")
    parser.add_argument("--width", type=whole(8), default=1024)
    parser.add_argument("--heads", type=whole(1), default=8)
    parser.add_argument("--vocab-size", type=whole(512), default=32768)
    parser.add_argument("--prompt", type=whole(1), default=200, help="tokens of the longest prompt; all differ")
    parser.add_argument("--gen-length", type=whole(1), default=64)
    parser.add_argument("--block-length", type=whole(4), default=32)
    parser.add_argument("--steps", type=whole(1), default=8, help="of a block")
    parser.add_argument("--rows", type=whole(1), default=8, help="decoded at once")
    parser.add_argument("--rounds", type=whole(1), default=2, help="of which the best counts; both take turns")


def run(arguments: argparse.Namespace) -> list[Row]:
    """Figures of LLaDA2's rule, on the GPU in bfloat16 where there is one, else on the CPU in float32.

    Raises:
        ValueError: the sizes do not go together.
    """
    if arguments.width % (2 * arguments.heads):
        raise ValueError(f"`--heads {arguments.heads}` does not cut `--width {arguments.width}` into even parts")
    return list(_measure(arguments))


class Recomputing:
    """A backbone that keeps nothing: all up to a row's block is computed in every step."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self.family, self.vocab_size, self.device = backbone.family, backbone.vocab_size, backbone.device
        self.mask_id, self.eos_id, self.eot_id = backbone.mask_id, backbone.eos_id, backbone.eot_id

    def logits(self, *args: Any) -> torch.Tensor:
        """See `Backbone`."""
        return self._backbone.logits(*args)


def block_backbone(arguments: argparse.Namespace) -> tuple[Backbone, Shape]:
    """A random one with block-causal attention."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    shape = Shape(arguments.layers, arguments.width, arguments.heads, 3 * arguments.width, arguments.vocab_size)
    full = random_backbone(shape, dtype, device, max_length=4096, seed=_SEED)
    layout = dataclasses.replace(LLADA, family="llada2", decoding="llada2", block_length=("", arguments.block_length))
    ids = TokenIds(full.mask_id, full.eos_id, full.eot_id)
    backbone = Backbone(
        full.model,
        layout,
        ids,
        num_parameters=full.num_parameters,
        source=full.source,
        identity=full.identity,
        block_length=arguments.block_length,
    )
    return backbone, shape


def _measure(arguments: argparse.Namespace) -> Iterator[Row]:
    backbone, shape = block_backbone(arguments)
    device = backbone.device
    longest = arguments.prompt
    prompts = random_prompts(backbone, [max(1, longest - 7 * row) for row in range(arguments.rows)], _SEED)
    config = codd.DecodingConfig(
        decoder="block_diffusion",
        rule="llada2",
        gen_length=arguments.gen_length,
        block_length=arguments.block_length,
        num_steps=arguments.steps,
    )
    kinds: dict[str, Any] = {"kept": backbone, "recomputed": Recomputing(backbone)}
    best, answers = dict.fromkeys(kinds, float("inf")), {}
    for round_ in range(arguments.rounds):
        for name, model in kinds.items():
            say(f"round {round_ + 1}: {name}")
            seconds, answers[name] = _timed(lambda model=model: codd.generate(model, prompts, config), device)
            best[name] = min(best[name], seconds)
    say("where the time goes")
    with watched(backbone, shape) as parts:
        codd.generate(backbone, prompts, config)
    note = f"{arguments.rows} rows, {shape}, prompts to {longest}, {arguments.gen_length} tokens, {device.type}"
    yield Row("blocks.forwards_per_answer", _mean([one.num_forward for one in answers["kept"]]), note=note)
    yield Row("blocks.samples_per_second_ratio", best["recomputed"] / best["kept"], "x", ">= 1", "kept to recomputed")
    same = [a.tokens == b.tokens for a, b in zip(answers["kept"], answers["recomputed"], strict=True)]
    goal = "= 100" if device.type == "cpu" else ""
    yield Row("blocks.equal_answers", 100 * _mean(same), "%", goal, "kept and recomputed")
    yield Row("blocks.outside_of_the_models", parts.outside_models(), "%", "<= 5", "of the time, with those kept")


def _timed(work: Callable[[], list[codd.Generation]], device: torch.device) -> tuple[float, list[codd.Generation]]:
    """Seconds: on a CPU of all threads, which other processes do not lengthen."""
    now = time.process_time if device.type == "cpu" else time.perf_counter
    wait(device)
    started = now()
    answers = work()
    wait(device)
    return now() - started, answers


def _mean(values: list[int] | list[bool]) -> float:
    return sum(values) / len(values)
