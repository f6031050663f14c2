"""The DiT family on a language that is known exactly, trained and sampled on a CPU.

    OMP_NUM_THREADS=1 python scripts/dit_demo.py --output dit-demo            # some twelve minutes on two idle cores
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
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import torch
from dit_figures import publish, save_plots
from dit_language import SIZE, Chain
from dit_measures import (
    BEGIN,
    CHAIN,
    SAMPLERS,
    SMALL,
    TEST_ROWS,
    TRAIN_ROWS,
    Measure,
    Plan,
    measure_curriculum,
    quality,
)

from lm_eval_codd.dit.training.distil import distil_dit
from lm_eval_codd.dit.training.run import train_dit
from lm_eval_codd.dit.training.settings import DistillationConfig, DiTTrainingConfig
from lm_eval_codd.files.outputs import write_text

ALGOS: Final = ("duo", "mdlm", "sedd", "d3pm", "ar")


def stages(plan: Plan) -> dict[str, tuple[Callable[[Plan, Path], None], tuple[str, ...]]]:
    """By name: what is done, and after which others. Long ones first, so that two workers end together."""
    jobs: dict[str, tuple[Callable[[Plan, Path], None], tuple[str, ...]]] = {
        f"train {name}": (_Train(name), ("rows",)) for name in ("duo", "d3pm", "mdlm", "sedd", "ar", "curriculum")
    }
    jobs = {"rows": (write_rows, ()), **jobs}
    jobs["train student"] = (distil, ("train duo",))
    for name in ("student", *ALGOS):
        jobs[f"measure {name}"] = (Measure(name), (f"train {name}",))
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


def check_bounds(figures: Mapping[str, Any]) -> None:
    """Raise `ValueError` where a bound is below what it bounds by more than noise and what the bound leaves out."""
    left_out = 1e-3 * figures["language"]["log_size"]
    for name, model in figures["models"].items():
        excess, error = model["excess"]
        if excess < -3 * error - left_out:
            raise ValueError(f"the bound of {name} is {-excess:.4f} nats below the entropy, of error {error:.4f}")


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
    check_bounds(figures)
    if options.publish:
        publish(figures)


if __name__ == "__main__":
    main()
