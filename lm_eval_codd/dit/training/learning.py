"""What both trainings do in an update: one step of AdamW, and averaged weights that follow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.dit.model import DiT
from lm_eval_codd.dit.network import Network
from lm_eval_codd.dit.training.noise import bound_of_batch
from lm_eval_codd.training.adam import Adam
from lm_eval_codd.training.checkpoint import under
from lm_eval_codd.training.noise import HELD_OUT_DRAW, generator_for

if TYPE_CHECKING:
    from lm_eval_codd.dit.config import DiTConfig
    from lm_eval_codd.dit.training.settings import RunSettings


class Weights:
    """A model that learns, and the average of it, which is what a training writes.

    Args:
        dit: as it starts; the average starts there too.
        settings: of the optimizer.

    Attributes:
        dit: the model that learns.
        average: the averaged one; it has no gradient.
    """

    def __init__(self, dit: DiT, settings: RunSettings) -> None:
        self.dit, self.average, self._settings = dit, copy_of(dit), settings
        dit.network.requires_grad_(True)
        self._adam = Adam(dict(dit.network.named_parameters()))

    def update(self, loss: Tensor, step: int) -> tuple[float, bool]:
        """One step down the loss; the loss, and whether it had a gradient.

        The average takes in a share of at least 9 / (10 + n) of update n, so that it forgets the start soon.
        """
        moved = self._adam.update(loss, self._settings.lr * min(1.0, (step + 1) / max(self._settings.warmup, 1)))
        decay = min(self._settings.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, weight in zip(self.average.network.parameters(), self.dit.network.parameters(), strict=True):
                mean.lerp_(weight, 1 - decay)
        return loss.item(), moved

    @torch.no_grad()
    def bound(self, rows: Tensor) -> dict[str, float]:
        """Nats per token of held-out rows by the averaged model, always noised alike, and their standard error."""
        each = []
        for start in range(0, len(rows), self._settings.batch_size):
            generator = generator_for("noise", self._settings.seed, HELD_OUT_DRAW, start)
            x0 = rows[start : start + self._settings.batch_size]
            each.append(bound_of_batch(self.average, x0, generator).mean(dim=1))
        nats = torch.cat(each)
        stderr = float(nats.std()) / math.sqrt(len(nats)) if len(nats) > 1 else 0.0
        return {"bound": float(nats.mean()), "bound_stderr": stderr}

    def state(self) -> dict[str, Tensor]:
        """What `load_state` needs to go on from here."""
        return self._adam.state() | tensors_of("average", self.average)

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on where `state` was taken."""
        self._adam.load_state(state)
        load_tensors(self.average, under("average", state))


def new_dit(config: DiTConfig, seed: int, device: torch.device) -> DiT:
    """A model as training starts: float32, modulation and output layer zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_for("start", seed).initial_seed())
        network = Network(config)
    return DiT(network.to(device), config)


def copy_of(dit: DiT) -> DiT:
    """The same model in weights of its own, without a gradient."""
    network = Network(dit.config).to(dit.device, dit.dtype)
    network.load_state_dict(dit.network.state_dict())
    return DiT(network.eval().requires_grad_(False), dit.config)


def tensors_of(prefix: str, dit: DiT) -> dict[str, Tensor]:
    """Its parameters, their names behind `prefix` and a dot."""
    return {f"{prefix}.{name}": weight.detach() for name, weight in dit.network.named_parameters()}


def load_tensors(dit: DiT, tensors: dict[str, Tensor]) -> None:
    """Take the parameters of `tensors_of`, whose prefix is off."""
    with torch.no_grad():
        for name, weight in dit.network.named_parameters():
            weight.copy_(tensors[name])
