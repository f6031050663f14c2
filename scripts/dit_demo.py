"""The DiT family on a language that is known exactly, trained and sampled on a CPU.

    OMP_NUM_THREADS=1 python scripts/dit_demo.py --output dit-demo            # about ten minutes on two idle cores
    OMP_NUM_THREADS=1 python scripts/dit_demo.py --output dit-demo --publish  # and docs/dit.md, its plots and figures

Do the bounds of duo, mdlm, sedd, d3pm and ar fall towards the entropy of a Markov chain, and never below? How good are
their samples under the chain itself, by steps? What does a distilled student win and lose against its teacher at equal
NFE? How much does DUO's curriculum lower the variance of the loss? Seeded, one training of each; standard errors are
over rows. A killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import torch
from dit_figures import publish, save_plots
from dit_language import LENGTH, SIZE, Chain
from torch import Tensor

import lm_eval_codd as codd
from lm_eval_codd.dit import DiT, curriculum_loss, log_likelihood_bounds
from lm_eval_codd.dit.training.distil import distil_dit
from lm_eval_codd.dit.training.noise import bound_of_batch, gamma_range, gaussian_noise, spread_times
from lm_eval_codd.dit.training.run import train_dit
from lm_eval_codd.dit.training.settings import DistillationConfig, DiTTrainingConfig
from lm_eval_codd.outputs import write_text

ALGOS: Final = ("duo", "mdlm", "sedd", "d3pm", "ar")
# Of each model: (name, predictor, noise removal). sedd's published sampler is the analytic one.
SAMPLERS: Final = {
    "duo": (("ancestral", "ancestral", "ancestral"), ("greedy tail", "ancestral", "greedy")),
    "student": (("ancestral", "ancestral", "ancestral"), ("greedy tail", "ancestral", "greedy")),
    "mdlm": (("ancestral", "ancestral", "ancestral"), ("greedy tail", "ancestral", "greedy")),
    "sedd": (("analytic", "analytic", "ancestral"),),
    "d3pm": (("ancestral", "ancestral", "ancestral"),),
    "ar": (("left to right", "ancestral", "ancestral"),),
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


def stages(plan: Plan) -> dict[str, tuple[Callable[[Plan, Path], None], tuple[str, ...]]]:
    """By name: what is done, and after which others. Long ones first, so that two workers end together."""
    jobs: dict[str, tuple[Callable[[Plan, Path], None], tuple[str, ...]]] = {
        f"train {name}": (_Train(name), ("rows",)) for name in ("duo", "d3pm", "mdlm", "sedd", "ar", "curriculum")
    }
    jobs = {"rows": (write_rows, ()), **jobs}
    jobs["train student"] = (distil, ("train duo",))
    for name in ("student", *ALGOS):
        jobs[f"measure {name}"] = (_Measure(name), (f"train {name}",))
    jobs["measure curriculum"] = (measure_curriculum, ("train duo", "train curriculum"))
    return jobs


def run(plan: Plan, output: Path, workers: int) -> None:
    """Every stage that `output` does not hold yet; with one worker in this process."""
    jobs = stages(plan)
    done = {name for name in jobs if (output / _said(name)).exists()}

    def finish(name: str, seconds: float) -> None:
        write_text(output / _said(name), json.dumps({"seconds": round(seconds, 1)}) + "\n")
        done.add(name)
        print(f"{name}: {seconds:.0f} s", flush=True)

    if workers == 1:
        for name in [name for name in jobs if name not in done]:
            finish(name, _timed(jobs[name][0], plan, output))
        return
    os.environ["TQDM_DISABLE"] = "1"  # two bars would write over each other
    running: dict[Future[float], str] = {}
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        while len(done) < len(jobs):
            for name, (job, after) in jobs.items():
                is_free = len(running) < workers and name not in done and name not in running.values()
                if is_free and done.issuperset(after):
                    running[pool.submit(_timed, job, plan, output)] = name
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                finish(running.pop(future), future.result())


def write_rows(plan: Plan, output: Path) -> None:
    """Rows of the chain; a second column has a begin token in front, for ar."""
    rows = Chain(CHAIN).sample(plan.rows, torch.Generator().manual_seed(TRAIN_ROWS)).tolist()
    lines = (json.dumps({"ids": row, "begun": [BEGIN, *row]}) for row in rows)
    write_text(output / "chain.jsonl", "\n".join(lines) + "\n")


@dataclass(frozen=True)
class _Train:
    """A training from nothing, by the name of its folder."""

    name: str

    def __call__(self, plan: Plan, output: Path) -> None:
        is_curriculum, is_ar = self.name == "curriculum", self.name == "ar"
        algo = "duo" if is_curriculum else self.name
        config = DiTTrainingConfig(
            algo=algo,
            column="begun" if is_ar else "ids",
            bos_id=BEGIN if is_ar else None,
            # Beside the language: no token for duo, the mask for the others, and for ar the begin token.
            vocab_size=SIZE + {"duo": 0, "ar": 2}.get(algo, 1),
            hidden_dim=plan.width,
            cond_dim=plan.width,
            n_blocks=plan.blocks,
            steps=plan.curriculum if is_curriculum else plan.updates,
            curriculum_steps=plan.curriculum if is_curriculum else 0,
            lr=plan.lr,
            ema=plan.ema,
            **_shared(plan, output),
        )
        train_dit(config, output / self.name, resume=True)


def distil(plan: Plan, output: Path) -> None:
    """The student of duo."""
    config = DistillationConfig(
        teacher=str(output / "duo"),
        column="ids",
        rounds=plan.rounds,
        round_steps=plan.round_updates,
        jumps=plan.jumps,
        lr=plan.distil_lr,
        ema=plan.distil_ema,
        **_shared(plan, output),
    )
    distil_dit(config, output / "student", resume=True)


def _shared(plan: Plan, output: Path) -> dict[str, Any]:
    return {
        "data": str(output / "chain.jsonl"),
        "held_out": max(plan.rows // 60, 2),
        "warmup": 100,
        "save_every": plan.save_every,
        "device": "cpu",
    }


@dataclass(frozen=True)
class _Measure:
    """Bound on fresh rows, and samples, of a model."""

    name: str

    def __call__(self, plan: Plan, output: Path) -> None:
        dit, chain = codd.load_dit(output / self.name, device="cpu"), Chain(CHAIN)
        rows = chain.sample(plan.test_rows, torch.Generator().manual_seed(TEST_ROWS))
        context = (BEGIN,) if dit.algo == "ar" else ()
        pairs = [(context, row) for row in rows.tolist()]
        mode = None if dit.algo == "ar" else "joint"
        bounds = log_likelihood_bounds(dit, pairs, mode, plan.draws, batch_size=64)
        nats = torch.tensor([-bound.value / LENGTH for bound in bounds])
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
    """Standard deviation of the loss over batches at the same weights: the bound, and the curriculum's loss.

    `hard` is the curriculum's with ids in place of their soft form: its times alone.
    """
    rows = Chain(CHAIN).sample(64 * plan.batches, torch.Generator().manual_seed(TEST_ROWS)).split(64)
    found = {}
    for name in ("duo", "curriculum"):
        dit = codd.load_dit(output / name, device="cpu")
        ends = gamma_range(dit.vocab_size, None, None)
        losses: dict[str, list[float]] = {"bound": [], "hard": [], "curriculum": []}
        for number, x0 in enumerate(rows):
            losses["bound"].append(float(bound_of_batch(dit, x0, torch.Generator().manual_seed(number)).mean()))
            for kind, tau in (("hard", 1e-9), ("curriculum", 1e-3)):
                generator = torch.Generator().manual_seed(number)
                t = spread_times(len(x0), generator)
                noise = gaussian_noise(x0, dit.vocab_size, generator)
                losses[kind].append(float(curriculum_loss(dit, x0, t, noise, *ends, tau).mean()))
        found[name] = {kind: {"mean": mean_of(torch.tensor(x)), "std": spread_of(x)} for kind, x in losses.items()}
    write_text(output / "curriculum.json", json.dumps(found) + "\n")


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


def collect(plan: Plan, output: Path) -> dict[str, Any]:
    """Every figure, in one record."""
    chain = Chain(CHAIN)
    fresh = chain.sample(plan.samples, torch.Generator().manual_seed(TEST_ROWS))
    models = {name: _read(output / f"{name}.json") for name in SAMPLERS}
    for name, model in models.items():
        history = _read(output / name / "training.json")["history"]
        model["curve"] = [[row["step"], row["bound"], row["bound_stderr"]] for row in history]
    training = {}
    for name in ("duo", "curriculum"):
        history = _read(output / name / "training.json")["history"]
        seen = [row for row in history if 0 < row["step"] <= plan.curriculum]
        training[name] = [[row["step"], row["loss"], row["loss_std"]] for row in seen]
    return {
        "plan": asdict(plan),
        "language": {"entropy": chain.entropy, "entropy_rate": chain.entropy_rate, "log_size": math.log(SIZE)},
        "data": quality(chain, fresh),
        "models": models,
        "curriculum": {"training": training, "at_weights": _read(output / "curriculum.json")},
        "seconds": {name: _read(output / _said(name))["seconds"] for name in stages(plan)},
    }


def _said(name: str) -> str:
    """The file that says that a stage is done."""
    return f"done/{name.replace(' ', '-')}.json"


def _timed(job: Callable[[Plan, Path], None], plan: Plan, output: Path) -> float:
    started = time.monotonic()
    job(plan, output)
    return time.monotonic() - started


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def rounded(value: Any) -> Any:
    """Floats to five digits, all through a record."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list | tuple) else value


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for models and figures")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread (default 2)")
    parser.add_argument("--small", action="store_true", help="seconds in place of minutes; its figures say nothing")
    parser.add_argument("--publish", action="store_true", help="bring docs/dit.md and results/demo/dit.json up to date")
    options = parser.parse_args(argv)
    plan, output = SMALL if options.small else Plan(), options.output
    output.mkdir(parents=True, exist_ok=True)
    planned = json.dumps(asdict(plan), indent=2) + "\n"
    if (output / "plan.json").exists() and (output / "plan.json").read_text(encoding="utf-8") != planned:
        raise SystemExit(f"{output} holds a run of another plan; give another folder")
    write_text(output / "plan.json", planned)
    run(plan, output, options.workers)
    figures = rounded(collect(plan, output))
    write_text(output / "figures.json", json.dumps(figures, indent=1) + "\n")
    save_plots(figures, output)
    if options.publish:
        publish(figures)


if __name__ == "__main__":
    main()
