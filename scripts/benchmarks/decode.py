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
from benchmarks.arguments import whole
from benchmarks.circuit import random_circuit
from benchmarks.comparisons import Bench
from benchmarks.ladder import climb
from benchmarks.memory import resident
from benchmarks.model import Shape, random_backbone, random_prompts
from benchmarks.roofline import measure_ceilings
from benchmarks.table import Row, say
from benchmarks.workload import Workload


@dataclass(frozen=True)
class Preset:
    """A backbone, how it is asked, and the goals that hold for exactly this on that kind of device."""

    shape: Shape
    dtype: str
    num_steps: int
    device: str
    goals: Mapping[str, str]


PRESETS: Final = {
    "small": Preset(
        Shape(layers=4, width=256, heads=4, mlp=768, vocab_size=126464),
        dtype="float32",
        num_steps=128,
        device="cpu",
        goals={
            "decode.samples_per_second_ratio": ">= 30",
            "decode.samples_per_second_ratio_without_end": ">= 11",
            "decode.exact.outside_models": "<= 5",
        },
    ),
    "llada-8b": Preset(
        Shape(layers=32, width=4096, heads=32, mlp=12288, vocab_size=126464),
        dtype="bfloat16",
        num_steps=256,
        device="cuda",
        goals={
            "decode.samples_per_second_ratio": ">= 4",
            "decode.circuit.overhead": "<= 1.5",
            "decode.modes.dual_threshold.tokens_per_second_ratio": ">= 8",
            "decode.exact.outside_models": "<= 5",
        },
    ),
}
_SIZES: Final = ("layers", "width", "heads", "mlp", "vocab_size")
# What else the goals were set for.
_WORKLOAD: Final = {
    "prompt_length": 100,
    "gen_length": 512,
    "block_length": 32,
    "answer_length": 150,
    "requests": 8,
    "batch_size": 8,
    "num_latents": 1024,
    "pc_frac": 0.7,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `bench.py decode`."""
    shape = parser.add_argument_group("the backbone, with random weights")
    shape.add_argument("--shape", choices=PRESETS, default="small", help="sizes, dtype and steps; llada-8b needs a GPU")
    for name in _SIZES:
        shape.add_argument(
            _flag(name), type=whole(512 if name == "vocab_size" else 1), metavar="N", help="instead of the shape's"
        )
    shape.add_argument("--dtype", choices=("float32", "bfloat16"), help="instead of the shape's")
    shape.add_argument("--device", help="such as cpu or cuda:1; a GPU where there is one when not given")
    shape.add_argument("--seed", type=whole(0), default=0, help="of weights and prompts")

    work = parser.add_argument_group("the requests")
    work.add_argument(
        "--num-steps", type=whole(1), metavar="N", help="denoising steps of an answer, instead of the shape's"
    )
    explained = {
        "prompt_length": "tokens of a prompt",
        "gen_length": "tokens of the canvas after it",
        "block_length": "tokens of a block, and of the circuit's window",
        "answer_length": "tokens of an answer: its end is forced there",
        "requests": "answers to decode",
        "batch_size": "of them at once",
        "num_latents": "of the random circuit; 0 leaves the circuit out",
        "pc_frac": "mask ratio below which the circuit acts",
    }
    types = {"num_latents": whole(0), "pc_frac": float}
    for name, default in _WORKLOAD.items():
        work.add_argument(
            _flag(name), type=types.get(name, whole(1)), default=default, metavar="N", help=explained[name]
        )

    how = parser.add_argument_group("what is measured, and how long")
    how.add_argument(
        "--timed-steps",
        type=whole(1),
        metavar="N",
        help="steps that are timed of decodes without early end, the official loop's among them, and scaled to all, "
        "which cost the same; by default those that an answer needs with early end on a CPU, all on a GPU",
    )
    how.add_argument("--rounds", type=whole(1), default=1, metavar="N", help="time what is compared so often, in turn")
    how.add_argument("--no-modes", action="store_true", help="leave out caches and thresholds")
    how.add_argument("--ladder", action="store_true", help="add what each step from the official loop gives")


def run(arguments: argparse.Namespace) -> list[Row]:
    """All figures."""
    preset = PRESETS[arguments.shape]
    rows = list(_measure(_set_up(arguments, preset), arguments))
    goals = _goals(arguments, preset)
    return [dataclasses.replace(row, goal=goals.get(row.name, row.goal)) for row in rows]


def _set_up(arguments: argparse.Namespace, preset: Preset) -> Bench:
    shape = dataclasses.replace(
        preset.shape, **{name: size for name in _SIZES if (size := getattr(arguments, name)) is not None}
    )
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = getattr(torch, arguments.dtype or preset.dtype)
    config = codd.DecodingConfig(
        num_steps=arguments.num_steps or preset.num_steps,
        gen_length=arguments.gen_length,
        block_length=arguments.block_length,
        pc_frac=arguments.pc_frac,
    )
    if not 0 < arguments.answer_length < arguments.gen_length:
        raise ValueError(
            f"`--answer-length {arguments.answer_length}` leaves no room for the end; use less than "
            f"`--gen-length {arguments.gen_length}`"
        )
    if shape.width % shape.heads:
        raise ValueError(f"`--width {shape.width}` cannot be split over `--heads {shape.heads}`; use a multiple")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"`--device {device}` is not there: this torch finds no GPU; use cpu")
    say(f"making a backbone of {shape} in {_name(dtype)} on {device}")
    length = arguments.prompt_length + arguments.gen_length
    backbone = random_backbone(shape, dtype, device, max_length=length, seed=arguments.seed)
    circuit = None
    if arguments.num_latents:
        say(f"making a circuit of {arguments.num_latents} latents")
        circuit = random_circuit(arguments.num_latents, shape.vocab_size, config.block_length, device)
    blocks_of_answer = arguments.answer_length // config.block_length + 1
    steps_of_answer = blocks_of_answer * config.num_steps // config.num_blocks
    return Bench(
        workload=Workload(
            backbone,
            random_prompts(backbone, [arguments.prompt_length] * arguments.requests, arguments.seed),
            gen_length=config.gen_length,
            end_at=arguments.answer_length,
            batch_size=arguments.batch_size,
        ),
        shape=shape,
        config=config,
        circuit=circuit,
        timed_steps=arguments.timed_steps or (steps_of_answer if device.type == "cpu" else config.num_steps),
        rounds=arguments.rounds,
        baseline=resident(),
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
        yield from comparisons.with_circuit(bench, ceilings)
    yield comparisons.changed_by_batching(bench)
    if arguments.ladder:
        say("the ladder from the official loop to this one")
        yield from climb(backbone, bench.workload.prompts[: bench.workload.batch_size], bench.config, exact, repeats=3)
    if not arguments.no_modes:
        yield from comparisons.approximate_modes(bench)


def _goals(arguments: argparse.Namespace, preset: Preset) -> Mapping[str, str]:
    """The preset's, where nothing was changed that they depend on."""
    changed = any(getattr(arguments, name) is not None for name in (*_SIZES, "dtype", "num_steps"))
    changed |= any(getattr(arguments, name) != value for name, value in _WORKLOAD.items())
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return {} if changed or torch.device(device).type != preset.device else preset.goals


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
