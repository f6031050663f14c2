"""Samples of the DiT family at its real shape, against the plain formula on the whole canvas, and their memory."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

import lm_eval_codd as codd
from benchmarks.arguments import add_device, device_of, whole
from benchmarks.table import Row, say
from benchmarks.timing import wait
from lm_eval_codd.dit import DiT, sampling
from lm_eval_codd.dit.config import DiTConfig, Ids
from lm_eval_codd.dit.network import Network
from lm_eval_codd.dit.samplers.draws import by_race
from lm_eval_codd.dit.schedules import sampling_times

_SEED = 0
# Deviation of random weights, about as large as trained ones are.
_SCALE = 0.02


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `bench.py dit`."""
    parser.add_argument("--blocks", type=whole(1), default=12, help="of the network; the defaults are MDLM's and DUO's")
    parser.add_argument("--width", type=whole(2), default=768)
    parser.add_argument("--heads", type=whole(1), default=12)
    parser.add_argument("--vocab-size", type=whole(2), default=50258)
    parser.add_argument("--length", type=whole(1), default=1024, help="tokens of a row")
    parser.add_argument("--rows", type=whole(1), default=8, help="sampled at once")
    parser.add_argument("--steps", type=whole(1), default=32, help="of the grid of times")
    parser.add_argument(
        "--timed-steps",
        type=whole(1),
        metavar="N",
        help="of them that are run, from the first one on; by default one on a CPU, all on a GPU",
    )
    add_device(parser)
    parser.add_argument("--rounds", type=whole(1), default=2, help="of which the best counts; all take turns")


def run(arguments: argparse.Namespace) -> list[Row]:
    """Figures of MDLM and DUO in float64.

    With this grid about as many tokens leave the mask in each step, so that the first steps cost as much as any.

    Raises:
        ValueError: the sizes do not go together, or the device is not there.
    """
    if arguments.width % (2 * arguments.heads):
        raise ValueError(f"`--heads {arguments.heads}` does not cut `--width {arguments.width}` into even parts")
    if (arguments.timed_steps or 0) > arguments.steps:
        raise ValueError(f"`--timed-steps {arguments.timed_steps}` is more than `--steps {arguments.steps}`; lower it")
    return list(_measure(arguments, device_of(arguments.device)))


def _measure(arguments: argparse.Namespace, device: torch.device) -> Iterator[Row]:
    rows = arguments.rows
    timed = arguments.timed_steps or (1 if device.type == "cpu" else arguments.steps)
    run_steps = "all" if timed == arguments.steps else f"the first {timed} of"
    note = f"{rows} rows of {arguments.length}, {run_steps} {arguments.steps} steps"
    times = sampling_times(arguments.steps)[: timed + 1]
    network = random_network(arguments, device)
    models = {algo: DiT(network, config_of(algo, arguments)) for algo in ("mdlm", "duo")}
    yield Row("dit.parameters", models["duo"].num_parameters / 1e6, "M", note=f"random weights, {device.type}")
    kinds: dict[str, Callable[[Tensor], object]] = {
        "mdlm": lambda times: sampled(models["mdlm"], rows, arguments.length, times),
        "duo": lambda times: sampled(models["duo"], rows, arguments.length, times),
        "plain": lambda times: plain(models["mdlm"], rows, arguments.length, times, _fresh),
    }
    best = dict.fromkeys(kinds, float("inf"))
    peaks = dict.fromkeys(kinds, 0.0)
    if device.type == "cuda":
        # A GPU's first kernels are looked for and loaded, which is no step's cost.
        for work in kinds.values():
            work(times[:2])
    for round_ in range(arguments.rounds):
        for name, work in kinds.items():
            say(f"round {round_ + 1}: {name}, {note}")
            _reset_peak(device)
            best[name] = min(best[name], _seconds(partial(work, times), device) / timed)
            peaks[name] = max(peaks[name], _peak(device))
    # Other processes lengthen the time on the wall; libraries that wait for a core still count.
    clock = "processor time of all threads" if device.type == "cpu" else "wall time"
    for name in kinds:
        yield Row(f"dit.{name}.seconds_per_step", best[name], "s", note=f"{clock}; {note}")
    if timed == arguments.steps:
        for name in kinds:
            yield Row(f"dit.{name}.samples_per_second", rows / (timed * best[name]), "samples/s", note=clock)
    for name in ("mdlm", "duo"):
        yield Row(f"dit.{name}.peak_memory", peaks[name], "GB", "<= 6", "weights and libraries among it")
    yield Row(
        "dit.mdlm.samples_per_second_ratio", best["plain"] / best["mdlm"], "x", ">= 2", "plain: all V ids everywhere"
    )


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    now = time.process_time if device.type == "cpu" else time.perf_counter
    wait(device)
    started = now()
    work()
    wait(device)
    return now() - started


def _fresh(step: int, row: int, shape: tuple[int, int], device: torch.device) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, device=device)


def sampled(dit: DiT, rows: int, length: int, times: Tensor) -> list[list[int]]:
    """Ids after the given times, without the removal of noise."""
    with mock.patch.object(sampling, "sampling_times", lambda steps: times):
        return [each.tokens for each in codd.sample_dit(dit, rows, length, len(times) - 1, noise_removal="none")]


@torch.inference_mode()
def plain(
    dit: DiT, rows: int, length: int, times: Tensor, noise: Callable[[int, int, tuple[int, int], torch.device], Tensor]
) -> Tensor:
    """MDLM's ancestral sampler as it is written: a forward a step, weights and noise of all V ids at all positions.

    Row by row after the trunk, so that it fits.

    Args:
        dit: of mdlm.
        rows: B.
        length: L.
        times: of the grid.
        noise: from (step, row, [L, V], device) to numbers in (0, 1).

    Returns:
        [B, L] ids.
    """
    process, tokens = dit.diffusion, torch.full((rows, length), dit.config.ids.mask, device=dit.device)
    alphas = dit.schedule.alpha(times).float().double().to(dit.device)
    for step in range(len(times) - 1):
        hidden, drawn = dit.hidden(tokens, None), []
        for row in range(rows):
            log_x = process.settled(process.log_x(dit.head(hidden[row]), tokens[row], None), tokens[row])
            weights = process.posterior(log_x.double().exp(), tokens[row], alphas[step + 1], alphas[step])
            drawn.append(by_race(weights, noise(step, row, (length, dit.vocab_size), dit.device)))
        tokens = torch.stack(drawn).where(tokens == dit.mask_id, tokens)
    return tokens


def config_of(algo: str, arguments: argparse.Namespace) -> DiTConfig:
    """Of a network of these sizes."""
    return DiTConfig(
        algo=algo,
        vocab_size=arguments.vocab_size,
        hidden_dim=arguments.width,
        cond_dim=128,
        n_blocks=arguments.blocks,
        n_heads=arguments.heads,
        model_length=arguments.length,
        causal=False,
        time_conditioning=algo != "mdlm",
        ids=Ids(arguments.vocab_size - 1, None, None),
    )


def random_network(arguments: argparse.Namespace, device: torch.device) -> Network:
    """Of random weights, modulation and output layer among them."""
    with device:
        network = Network(config_of("mdlm", arguments)).requires_grad_(False).eval()
    generator = torch.Generator(device).manual_seed(_SEED)
    for name, weight in network.named_parameters():
        if "norm" not in name:
            weight.normal_(std=_SCALE, generator=generator)
    return network


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew from what is held now


def _peak(device: torch.device) -> float:
    """GB: of the device, or of this process (VmHWM)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e9
