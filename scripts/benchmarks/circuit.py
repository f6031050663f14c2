"""One circuit evaluation against the floor of its matrix product."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import torch

from benchmarks.arguments import whole
from benchmarks.table import Row, say
from benchmarks.timing import best_times
from lm_eval_codd.circuits import HMM


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `bench.py circuit`."""
    parser.add_argument("--num-latents", type=whole(1), default=1024)
    parser.add_argument("--vocab-size", type=whole(1), default=126464)
    parser.add_argument("--num-positions", type=whole(1), default=32)
    parser.add_argument("--batch", type=whole(1), default=1)
    parser.add_argument(
        "--masked", type=whole(1), nargs="+", default=[1, 4, 8, 16, 22, 32], help="masked positions a row"
    )
    parser.add_argument("--repeats", type=whole(1), default=7, help="rounds, of which the best counts")


def run(arguments: argparse.Namespace) -> list[Row]:
    """Figures of every device and dtype that there is: float32 on the CPU, float32 and bfloat16 tables on a GPU.

    Raises:
        ValueError: more positions are to be masked than there are.
    """
    if max(arguments.masked) > arguments.num_positions:
        raise ValueError(
            f"`--masked {max(arguments.masked)}` is more than `--num-positions {arguments.num_positions}`; lower it"
        )
    cases = [("cpu", torch.float32)]
    if torch.cuda.is_available():
        cases += [("cuda", torch.float32), ("cuda", torch.bfloat16)]
    circuit = random_circuit(arguments.num_latents, arguments.vocab_size, arguments.num_positions)
    return [row for device, dtype in cases for row in _measure(circuit.to(dtype, device), arguments)]


def _measure(circuit: HMM, arguments: argparse.Namespace) -> Iterator[Row]:
    """Each number of masked positions against its floor.

    The floor is one matrix product of that size on a CPU; on a GPU the time to read the emission table once, at the
    bandwidth with which it can be summed.
    """
    device, table = circuit.device, circuit.emission
    shape = (arguments.batch, circuit.num_positions)
    for num_masked in arguments.masked:
        name = f"circuit.{device.type}_{str(table.dtype).removeprefix('torch.')}.masked_{num_masked}"
        say(name)
        observed = torch.randint(circuit.vocab_size, shape, device=device)
        observed[:, torch.randperm(circuit.num_positions)[:num_masked]] = -1
        log_evidence = 4 * torch.randn(arguments.batch * num_masked, circuit.vocab_size, device=device)
        weights = torch.rand(log_evidence.shape, device=device).to(table.dtype)

        def floor(weights: torch.Tensor = weights) -> torch.Tensor:
            return weights @ table.T if device.type == "cpu" else table.sum()

        def evaluate(log_evidence: torch.Tensor = log_evidence, observed: torch.Tensor = observed) -> object:
            return circuit.evaluate(log_evidence, observed)

        def couple(log_evidence: torch.Tensor = log_evidence, observed: torch.Tensor = observed) -> object:
            posterior = circuit.evaluate(log_evidence, observed)
            return posterior.couple_masked(posterior.sample())

        least, once, whole = best_times([floor, evaluate, couple], arguments.repeats, device)
        yield Row(f"{name}.floor", 1e3 * least, "ms", note="a matrix product" if device.type == "cpu" else "one read")
        yield Row(f"{name}.evaluate", 1e3 * once, "ms")
        yield Row(f"{name}.evaluate_ratio", once / least, "x")
        yield Row(f"{name}.couple", 1e3 * whole, "ms", note="evaluate, draw a latent path, couple")
        yield Row(f"{name}.couple_ratio", whole / least, "x")


def random_circuit(
    num_latents: int, vocab_size: int, num_positions: int, device: torch.device | str = "cpu", seed: int = 0
) -> HMM:
    """A circuit of random tables, every latent able to emit every token."""
    generator = torch.Generator(device).manual_seed(seed)

    def rows(*shape: int) -> torch.Tensor:
        table = torch.rand(shape, generator=generator, device=device)
        return table / table.sum(-1, keepdim=True)

    tables = rows(num_latents), rows(num_latents, num_latents), rows(num_latents, vocab_size)
    return HMM(*tables, num_positions, identity="random")
