"""Decoding a batch of requests: against the official loop, against the machine's limits, and where the time goes."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import torch

import lm_eval_codd as codd
from benchmarks import comparisons
from benchmarks.arguments import add_device, device_of, whole
from benchmarks.circuit import random_circuit
from benchmarks.comparisons import Bench
from benchmarks.ladder import climb
from benchmarks.model import Shape, random_backbone, random_prompts
from benchmarks.roofline import measure_ceilings
from benchmarks.table import Row, say
from benchmarks.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A backbone, what is asked of it, and the goals that hold for exactly this on that kind of device.

    Attributes:
        pc_frac: mask ratio below which the circuit acts.
        answer_length: tokens of an answer: its end is forced there.
        rounds_of_modes: how often the requests are decoded one after the other with caches and thresholds.
    """

    shape: Shape
    dtype: torch.dtype
    num_steps: int
    gen_length: int = 512
    block_length: int = 32
    pc_frac: float = 0.7
    prompt_length: int = 100
    answer_length: int = 150
    requests: int = 8
    batch_size: int = 8
    num_latents: int = 1024
    rounds_of_modes: int = 1
    device: str = "cpu"
    goals: Mapping[str, str] = dataclasses.field(default_factory=dict)


PRESETS: Final = {
    "tiny": Preset(
        shape=Shape(layers=2, width=32, heads=2, mlp=64, vocab_size=600),
        dtype=torch.float32,
        num_steps=16,
        gen_length=32,
        block_length=8,
        prompt_length=12,
        answer_length=13,
        requests=3,
        batch_size=2,
        num_latents=4,
    ),
    "small": Preset(
        shape=Shape(layers=4, width=256, heads=4, mlp=768, vocab_size=126464),
        dtype=torch.float32,
        num_steps=128,
        goals={
            "decode.samples_per_second_ratio": ">= 30",
            "decode.samples_per_second_ratio_without_end": ">= 11",
            "decode.exact.outside_models": "<= 5",
        },
    ),
    "llada-8b": Preset(
        shape=Shape(layers=32, width=4096, heads=32, mlp=12288, vocab_size=126464),
        dtype=torch.bfloat16,
        num_steps=256,
        rounds_of_modes=4,
        device="cuda",
        goals={
            "decode.samples_per_second_ratio": ">= 4",
            "decode.circuit.overhead": "<= 1.5",
            "decode.modes.dual_threshold.tokens_per_second_ratio": ">= 8",
            "decode.exact.outside_models": "<= 5",
        },
    ),
}
_CHANGEABLE: Final = {
    "requests": "answers to decode",
    "batch_size": "of them at once",
    "num_latents": "of the random circuit; 0 leaves the circuit out",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `bench.py decode`."""
    parser.add_argument(
        "--shape", choices=PRESETS, default="small", help="of the backbone and its requests; llada-8b needs a GPU"
    )
    add_device(parser)
    parser.add_argument("--seed", type=whole(0), default=0, help="of weights and prompts")
    for name, explained in _CHANGEABLE.items():
        least = 0 if name == "num_latents" else 1
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=whole(least), metavar="N", help=f"{explained}; instead of the shape's"
        )
    parser.add_argument(
        "--timed-steps",
        type=whole(1),
        metavar="N",
        help="steps that are timed of decodes without early end, the official loop's among them, and scaled to all, "
        "which cost the same; by default those that an answer needs with early end on a CPU, all on a GPU",
    )
    parser.add_argument(
        "--rounds", type=whole(1), default=1, metavar="N", help="time what is compared so often, in turn"
    )
    parser.add_argument("--no-modes", action="store_true", help="leave out caches and thresholds")
    parser.add_argument("--ladder", action="store_true", help="add what each step from the official loop gives")


def run(arguments: argparse.Namespace) -> list[Row]:
    """All figures, with the preset's goals where nothing was changed that they depend on.

    Raises:
        ValueError: the device is not there.
    """
    device = device_of(arguments.device)
    preset = PRESETS[arguments.shape]
    given = {name: value for name in _CHANGEABLE if (value := getattr(arguments, name)) is not None}
    asked = dataclasses.replace(preset, **given)
    rows = list(_measure(_set_up(asked, device, arguments), arguments))
    goals = preset.goals if asked == preset and device.type == preset.device else {}
    return [dataclasses.replace(row, goal=goals.get(row.name, row.goal)) for row in rows]


def _set_up(preset: Preset, device: torch.device, arguments: argparse.Namespace) -> Bench:
    config = codd.DecodingConfig(
        num_steps=preset.num_steps,
        gen_length=preset.gen_length,
        block_length=preset.block_length,
        pc_frac=preset.pc_frac,
    )
    say(f"making a backbone of {preset.shape} in {_name(preset.dtype)} on {device}")
    length = preset.prompt_length + preset.gen_length
    backbone = random_backbone(preset.shape, preset.dtype, device, max_length=length, seed=arguments.seed)
    circuit = None
    if preset.num_latents:
        say(f"making a circuit of {preset.num_latents} latents")
        circuit = random_circuit(preset.num_latents, preset.shape.vocab_size, config.block_length, device)
    blocks_of_answer = preset.answer_length // config.block_length + 1
    steps_of_answer = blocks_of_answer * config.num_steps // config.num_blocks
    return Bench(
        workload=Workload(
            backbone,
            random_prompts(backbone, [preset.prompt_length] * preset.requests, arguments.seed),
            gen_length=config.gen_length,
            end_at=preset.answer_length,
            batch_size=preset.batch_size,
        ),
        shape=preset.shape,
        config=config,
        circuit=circuit,
        timed_steps=arguments.timed_steps or (steps_of_answer if device.type == "cpu" else config.num_steps),
        rounds=arguments.rounds,
        rounds_of_modes=preset.rounds_of_modes,
    )


def _measure(bench: Bench, arguments: argparse.Namespace) -> Iterator[Row]:
    backbone = bench.workload.backbone
    what = f"{bench.shape}; {_name(backbone.dtype)} on {backbone.device}"
    yield Row("decode.parameters", backbone.num_parameters / 1e6, "million", note=what)
    say("measuring the machine's ceilings")
    ceilings = measure_ceilings(backbone.dtype, backbone.device)
    yield Row("decode.ceilings.product", ceilings.operations / 1e9, "GFLOP/s", note="a large matrix product")
    yield Row("decode.ceilings.copy", ceilings.bandwidth / 1e9, "GB/s", note="a large copy, read and written")
    exact, rows = comparisons.against_official(bench, ceilings)
    yield from rows
    if bench.circuit is not None:
        yield from comparisons.with_circuit(bench, bench.circuit, ceilings)
    yield comparisons.changed_by_batching(bench)
    if arguments.ladder:
        say("the ladder from the official loop to this one")
        yield from climb(backbone, bench.workload.prompts[: bench.workload.batch_size], bench.config, exact, repeats=3)
    if not arguments.no_modes:
        yield from comparisons.approximate_modes(bench)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
