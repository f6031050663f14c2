"""What `dit_demo.py` measures of its models, and how much of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from dit_language import LENGTH, SIZE, Chain
from torch import Tensor

import lm_eval_codd as codd
from lm_eval_codd.dit import DiT, curriculum_loss, log_likelihood_bounds
from lm_eval_codd.dit.training.learning import new_dit
from lm_eval_codd.dit.training.noise import bound_of_batch, gaussian_noise, spread_times
from lm_eval_codd.dit.transform import alpha_of
from lm_eval_codd.files.outputs import write_text

# Of each model: (name, predictor, noise removal). sedd's published sampler is the analytic one.
SAMPLERS: Final = {
    "duo": (("ancestral", "ancestral", "ancestral"), ("greedy tail", "ancestral", "greedy")),
    "student": (("ancestral", "ancestral", "ancestral"), ("greedy tail", "ancestral", "greedy")),
    "mdlm": (("ancestral", "ancestral", "ancestral"),),
    "sedd": (("analytic", "analytic", "ancestral"),),
    "d3pm": (("ancestral", "ancestral", "ancestral"),),
    "ar": (("left to right", "ancestral", "ancestral"),),
}
# Signal left at time 0 and at time 1, and temperature: all of the noise, as in the training here, once with ids in
# place of their soft form; the signal that DUO's gamma of -3.55 .. -1.85 leaves of 50258 ids; and a softer form.
CURRICULA: Final = {
    "ids": ((0.99, 0.01), 1e-9),
    "whole": ((0.99, 0.01), 1e-3),
    "published": ((0.945, 0.049), 1e-3),
    "softer": ((0.945, 0.049), 0.1),
}
BEGIN: Final = SIZE
# Seeds of the chain, its rows to train on, and rows that nothing is trained on.
CHAIN, TRAIN_ROWS, TEST_ROWS = 0, 1, 2


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Attributes:
        rows: to train on.
        width, blocks: of every network.
        updates: of each of the five models.
        lr, ema: of theirs.
        curriculum: updates of the run with the curriculum, to be held against as many of duo.
        rounds, round_updates, jumps, distil_lr, distil_ema: of the distillation.
        save_every: updates between figures.
        test_rows, draws: for the bounds, fresh rows and draws of each.
        samples: for each number of steps.
        steps: numbers of steps.
        batches: for the variance of the loss at given weights.
    """

    rows: int = 60_000
    width: int = 64
    blocks: int = 3
    updates: int = 2500
    lr: float = 2e-3
    ema: float = 0.998
    curriculum: int = 800
    rounds: int = 4
    round_updates: int = 300
    jumps: int = 32
    distil_lr: float = 5e-4
    distil_ema: float = 0.99
    save_every: int = 100
    test_rows: int = 512
    draws: int = 32
    samples: int = 512
    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    batches: int = 300


SMALL: Final = Plan(
    *(300, 16, 1, 12, 5e-3, 0.9, 8, 2, 4, 4, 5e-4, 0.9, 4),
    test_rows=8,
    draws=4,
    samples=16,
    steps=(1, 2),
    batches=4,
)


@dataclass(frozen=True)
class Measure:
    """Bound on fresh rows, and samples, of a model."""

    name: str

    def __call__(self, plan: Plan, output: Path) -> None:
        """Write the figures."""
        dit, chain = codd.load_dit(output / self.name, device="cpu"), Chain(CHAIN)
        rows = chain.sample(plan.test_rows, torch.Generator().manual_seed(TEST_ROWS))
        nats = bounds(dit, rows, plan.draws)
        samples = {name: _samples(dit, plan, chain, *how) for name, *how in SAMPLERS[self.name]}
        figures = {
            "parameters": dit.num_parameters,
            "bound": mean_of(nats),
            # Of the same rows under the chain, which take most of the noise away.
            "exact": mean_of(chain.nats(rows)),
            "excess": mean_of(nats - chain.nats(rows)),
            "samples": samples,
        }
        write_text(output / f"{self.name}.json", json.dumps(figures) + "\n")


def bounds(dit: DiT, rows: Tensor, draws: int) -> Tensor:
    """[N] nats per token, every row under noise of its own: shared noise would not average out over rows."""
    begin = (BEGIN,) if dit.algo == "ar" else ()
    mode = None if dit.algo == "ar" else "joint"
    pairs = [(begin, row) for row in rows.tolist()]
    found = log_likelihood_bounds(dit, pairs, mode, draws, batch_size=64, noise_of=rows.tolist())
    return torch.tensor([-bound.value / LENGTH for bound in found], dtype=torch.float64)


def _samples(dit: DiT, plan: Plan, chain: Chain, predictor: str, removal: str) -> dict[str, Any]:
    """By steps; ar has one way, of a step a token."""
    found = {}
    for steps in (LENGTH,) if dit.algo == "ar" else plan.steps:
        length = LENGTH + (dit.algo == "ar")
        drawn = codd.sample_dit(dit, plan.samples, length, steps, predictor, removal, batch_size=128)
        rows = torch.tensor([tokens for tokens, _ in drawn])[:, -LENGTH:]
        found[str(steps)] = {"nfe": mean_of(torch.tensor([float(nfe) for _, nfe in drawn])), **quality(chain, rows)}
    return found


def quality(chain: Chain, rows: Tensor) -> dict[str, list[float]]:
    """What the chain says of rows, and the entropy without which that means nothing: means and standard errors."""
    entropies = torch.tensor([codd.unigram_entropy(row) for row in rows])
    return {
        "nats": mean_of(chain.nats(rows)),
        "illegal": mean_of(chain.illegal(rows)),
        "entropy": mean_of(entropies),
    }


@torch.inference_mode()
def measure_curriculum(plan: Plan, output: Path) -> None:
    """Mean and standard deviation over batches of the bound and of the curriculum's loss, at the same weights."""
    rows = Chain(CHAIN).sample(64 * plan.batches, torch.Generator().manual_seed(TEST_ROWS)).split(64)
    trained = {name: codd.load_dit(output / name, device="cpu") for name in ("duo", "curriculum")}
    models = {"new": new_dit(trained["duo"].config, 0, torch.device("cpu")), **trained}
    found: dict[str, dict[str, Any]] = {name: {} for name in models}
    for name, dit in models.items():
        for kind in ("bound", *CURRICULA):
            losses = [_loss_of(dit, kind, x0, torch.Generator().manual_seed(i)) for i, x0 in enumerate(rows)]
            found[name][kind] = {"mean": mean_of(torch.tensor(losses)), "std": spread_of(losses)}
    write_text(output / "curriculum.json", json.dumps(found) + "\n")


def _loss_of(dit: DiT, kind: str, x0: Tensor, generator: torch.Generator) -> float:
    if kind == "bound":
        return float(bound_of_batch(dit, x0, generator).mean())
    alphas, tau = CURRICULA[kind]
    low, high = _gammas(alphas)
    t, noise = spread_times(len(x0), generator), gaussian_noise(x0, SIZE, generator)
    return float(curriculum_loss(dit, x0, t, noise, low, high, tau).mean())


@cache
def _gammas(alphas: tuple[float, float]) -> list[float]:
    """Where so much of the signal is left."""
    grid = torch.arange(-6, 8, 1e-3, dtype=torch.float64)
    alpha = alpha_of(codd.diffusion_transform(grid, SIZE)[0], SIZE)
    return [float(grid[(alpha - end).abs().argmin()]) for end in alphas]


def mean_of(values: Tensor) -> list[float]:
    """[mean, standard error]."""
    values = values.double()
    return [float(values.mean()), float(values.std()) / math.sqrt(len(values))]


def spread_of(values: Iterable[float]) -> list[float]:
    """[standard deviation, its standard error by the jackknife], of any distribution."""
    each = torch.tensor(list(values), dtype=torch.float64)
    n, total, squares = len(each), each.sum(), each.square().sum()
    means = (total - each) / (n - 1)
    without = ((squares - each.square()) / (n - 2) - means.square() * (n - 1) / (n - 2)).clamp(min=0).sqrt()
    stderr = (without - without.mean()).square().sum().mul((n - 1) / n).sqrt()
    return [float(each.std()), float(stderr)]
