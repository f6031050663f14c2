"""Measure the parts whose speed matters: `python scripts/bench.py circuit`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from lm_eval_codd.circuits import HMM


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    circuit = commands.add_parser("circuit", help="one circuit evaluation against the floor of its matrix product")
    circuit.add_argument("--num-latents", type=int, default=1024)
    circuit.add_argument("--vocab-size", type=int, default=126464)
    circuit.add_argument("--num-positions", type=int, default=32)
    circuit.add_argument("--batch", type=int, default=1)
    circuit.add_argument("--masked", type=int, nargs="+", default=[1, 4, 8, 16, 22, 32], help="masked positions a row")
    circuit.add_argument("--repeats", type=int, default=7)
    circuit.set_defaults(run=bench_circuit)
    arguments = parser.parse_args()
    arguments.run(arguments)


def bench_circuit(arguments: argparse.Namespace) -> None:
    cases = [("cpu", torch.float32)]
    if torch.cuda.is_available():
        cases += [("cuda", torch.float32), ("cuda", torch.bfloat16)]
    circuit = random_circuit(arguments.num_latents, arguments.vocab_size, arguments.num_positions)
    for device, dtype in cases:
        bench_circuit_on(circuit.to(dtype, device), arguments)


def bench_circuit_on(circuit: HMM, arguments: argparse.Namespace) -> None:
    """Times are the best of `repeats`; the parts of a line are timed in turn, so that a busy machine hits all alike.

    The floor is one matrix product of that size on a CPU; on a GPU the time to read the emission table once, at the
    bandwidth with which it can be summed.
    """
    device, table = circuit.device, circuit.emission
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    print(
        f"{device}{threads}, emission {table.dtype}: B={arguments.batch} H={circuit.num_latents} "
        f"T={circuit.num_positions} V={circuit.vocab_size}; ms"
    )
    print(
        f"{'masked':>6} {'MB moved':>9} {'floor':>8} {'evaluate':>9} {'ratio':>6} {'+ draw + couple':>16} {'ratio':>6}"
    )
    for num_masked in arguments.masked:
        shape = (arguments.batch, circuit.num_positions)
        log_evidence = 4 * torch.randn(*shape, circuit.vocab_size, device=device)
        observed = torch.randint(circuit.vocab_size, shape, device=device)
        observed[:, torch.randperm(circuit.num_positions)[:num_masked]] = -1
        weights = torch.rand(arguments.batch * num_masked, circuit.vocab_size, device=device, dtype=table.dtype)

        def floor(weights: torch.Tensor = weights) -> torch.Tensor:
            return weights @ table.T if device.type == "cpu" else table.sum()

        def evaluate(log_evidence: torch.Tensor = log_evidence, observed: torch.Tensor = observed) -> object:
            return circuit.evaluate(log_evidence, observed)

        def couple(log_evidence: torch.Tensor = log_evidence, observed: torch.Tensor = observed) -> object:
            posterior = circuit.evaluate(log_evidence, observed)
            return posterior.couple_masked(posterior.sample())

        least, once, whole = best_times([floor, evaluate, couple], arguments.repeats, device)
        # The table once, and the masked evidence read, its weights written and read.
        moved = table.numel() * table.element_size() + 3 * weights.numel() * log_evidence.element_size()
        print(
            f"{num_masked:6d} {moved / 1e6:9.1f} {1e3 * least:8.2f} {1e3 * once:9.2f} {once / least:6.2f} "
            f"{1e3 * whole:16.2f} {whole / least:6.2f}",
            flush=True,
        )


def best_times(functions: list[Callable[[], object]], repeats: int, device: torch.device) -> list[float]:
    """Least seconds of each function over `repeats` rounds, after one round that is not counted."""
    best = [float("inf")] * len(functions)
    for round_ in range(repeats + 1):
        for index, function in enumerate(functions):
            started = time.perf_counter()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if round_:
                best[index] = min(best[index], time.perf_counter() - started)
    return best


def random_circuit(num_latents: int, vocab_size: int, num_positions: int) -> HMM:
    torch.manual_seed(0)
    tables = (torch.rand(shape) for shape in ((num_latents,), (num_latents, num_latents), (num_latents, vocab_size)))
    return HMM(*(table / table.sum(-1, keepdim=True) for table in tables), num_positions, identity="random")


if __name__ == "__main__":
    main()
