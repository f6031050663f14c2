"""The loop of a training by gradient: updates, figures and checkpoints, from where a killed run was to its end."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

from lm_eval_codd.training.checkpoint import read_checkpoint, write_checkpoint
from lm_eval_codd.training.run_folder import is_interrupted

if TYPE_CHECKING:
    from torch import Tensor


class Learner(Protocol):
    """What is trained. Order and noise of an update are functions of the seed and its number."""

    def update(self, step: int) -> tuple[float, bool]:
        """Update number `step`; the loss before it, and whether it had a gradient."""
        ...

    def measure(self, step: int) -> dict[str, float]:
        """Figures on held-out rows after `step` updates; `held_out_loss` is among them."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What `load_state` needs to go on from here."""
        ...

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on where `state` was taken."""
        ...


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: updates done.
        history: `step`, the figures then, and `loss` and `loss_std`, mean and standard deviation (without a trend) of
            the losses of the updates since the figures before.
        seconds: spent so far.
        num_idle: updates without any gradient.
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    num_idle: int = 0


def run_updates(
    learner: Learner, output: Path, key: Mapping[str, Any], total: int, save_every: int, name: str, device: str
) -> Progress:
    """Do the updates up to `total`, with figures and a checkpoint in `output` every `save_every` of them.

    Args:
        learner: as it starts.
        output: the folder of the run, which is made; where it holds a checkpoint, the run goes on from it.
        key: everything that must be the same for the run to go on.
        total: updates of the whole run.
        save_every: updates between checkpoints.
        name: of the progress bar.
        device: where a checkpoint is read to.

    Raises:
        ValueError: one line; the checkpoint there belongs to another run, or a loss is not finite.
    """
    progress = Progress()
    if is_interrupted(output):
        tensors, said = read_checkpoint(output, key, device)
        learner.load_state(tensors)
        progress = Progress(said["step"], said["history"], said["seconds"], said["num_idle"])
    output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic() - progress.seconds
    losses: list[float] = []

    def note() -> None:
        figures = learner.measure(progress.step)
        _check(figures["held_out_loss"], "on held-out rows")
        progress.history.append({"step": progress.step, **figures, **_spread(losses)})
        progress.seconds = time.monotonic() - started
        losses.clear()

    if not progress.history:
        note()
    with tqdm(total=total, initial=progress.step, desc=name, unit="step") as bar:
        for step in range(progress.step, total):
            loss, moved = learner.update(step)
            losses.append(_check(loss, f"of update {step}"))
            progress.num_idle += not moved
            progress.step = step + 1
            bar.update()
            held_out = progress.history[-1]["held_out_loss"]
            bar.set_postfix(loss=f"{loss:.4f}", held_out=f"{held_out:.4f}", refresh=False)
            if progress.step % save_every == 0 or progress.step == total:
                note()
                write_checkpoint(output, learner.state(), {**asdict(progress), "key": key})
    return progress


def _spread(losses: list[float]) -> dict[str, float]:
    """Mean, and the standard deviation from the differences of neighbours, in which a trend is not."""
    if not losses:
        return {}
    squares = [(one - other) ** 2 / 2 for one, other in pairwise(losses)]
    return {"loss": math.fsum(losses) / len(losses), "loss_std": math.sqrt(math.fsum(squares) / max(len(squares), 1))}


def _check(loss: float, what: str) -> float:
    if not math.isfinite(loss):
        raise ValueError(f"the loss {what} is {loss}; give a smaller `lr`, and another `output`")
    return loss
