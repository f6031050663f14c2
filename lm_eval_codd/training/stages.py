"""The two stages of training, each a number of updates of the circuit that can be left and taken up at any step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

import torch
from torch import Tensor

from lm_eval_codd.training.counts import Counts
from lm_eval_codd.training.noise import HELD_OUT_DRAW, Order
from lm_eval_codd.training.updates import (
    Anemone,
    ConditionalAscent,
    conditional,
    em_update,
    known_windows,
    without_frequencies,
)

if TYPE_CHECKING:
    from lm_eval_codd.circuits import HMM
    from lm_eval_codd.training.evidence import Evidence
    from lm_eval_codd.training.settings import TrainingConfig

# Windows of tokens whose posteriors are held at a time.
_WINDOWS_AT_A_TIME: Final = 256


class Stage(Protocol):
    """Updates that follow one another."""

    name: str
    num_steps: int

    def start(self, circuit: HMM) -> HMM:
        """The circuit to begin with, from the one that the stage before left."""
        ...

    def step(self, circuit: HMM, index: int) -> HMM:
        """The circuit after update `index`, which alone decides the batch."""
        ...

    def state(self) -> dict[str, Tensor]:
        """The optimizer's tensors."""
        ...

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on where `state` was taken."""
        ...


class MaximumLikelihood:
    """EM or Anemone on windows of tokens [N, T]."""

    name = "ml"

    def __init__(self, windows: Tensor, config: TrainingConfig, device: torch.device) -> None:
        self._windows, self._device = windows, device
        self._order = Order(len(windows), config.ml_batch_size or len(windows), config.seed)
        self.num_steps = config.ml_epochs * self._order.batches_per_epoch
        self._step_size, self._pseudocount = config.ml_step_size, config.pseudocount
        self._anemone = None
        if config.ml_update == "anemone":
            self._anemone = Anemone(config.ml_step_size, pseudocount=config.pseudocount)

    def start(self, circuit: HMM) -> HMM:
        """See `Stage`."""
        return circuit

    def step(self, circuit: HMM, index: int) -> HMM:
        """See `Stage`."""
        batch, _ = self._order.batch(index)
        counts = Counts.zeros(circuit)
        for part in batch.split(_WINDOWS_AT_A_TIME):
            _, more = known_windows(circuit, self._windows[part].to(self._device))
            counts = counts.add(more)
        if self._anemone is not None:
            return self._anemone.update(circuit, counts)
        return em_update(circuit, counts, self._step_size, self._pseudocount)

    def state(self) -> dict[str, Tensor]:
        """See `Stage`."""
        return {} if self._anemone is None else self._anemone.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See `Stage`."""
        if self._anemone is not None:
            self._anemone.load_state(state)


class ConditionalLikelihood:
    """The paper's objective (Eq. 7) on noisy rows, by `ConditionalAscent`.

    The paper leaves the weights w(t) open. Here every masked token of a batch weighs the same, so that the objective
    is the log-likelihood per masked token that is reported.
    """

    name = "conditional"

    def __init__(self, evidence: Evidence, num_rows: int, config: TrainingConfig) -> None:
        self._evidence, self._config = evidence, config
        self._order = Order(num_rows, config.batch_size, config.seed)
        self.num_steps = config.steps or (config.epochs or 1) * self._order.batches_per_epoch
        self._ascent = ConditionalAscent()

    def start(self, circuit: HMM) -> HMM:
        """See `Stage`. Tries the first batch with and without the frequencies of tokens, and keeps the better.

        A backbone that has learned them has them in its evidence, one that has not needs the circuit's. A circuit that
        was given is taken as it is.
        """
        if self._config.objective != "both":
            return circuit
        rows, epoch = self._order.batch(0)
        batch = self._evidence.batch(rows.tolist(), epoch)

        def likelihood(candidate: HMM) -> float:
            return conditional(candidate, batch.tokens, batch.masked, batch.log_evidence).circuit.sum().item()

        return max(circuit, without_frequencies(circuit), key=likelihood)

    def step(self, circuit: HMM, index: int) -> HMM:
        """See `Stage`."""
        rows, epoch = self._order.batch(index)
        batch = self._evidence.batch(rows.tolist(), epoch)
        if not len(batch.tokens):
            return circuit
        weights = torch.full((len(batch.tokens),), 1 / len(batch.log_evidence), dtype=circuit.dtype)
        found = conditional(circuit, batch.tokens, batch.masked, batch.log_evidence, weights.to(circuit.device))
        assert found.gradient is not None  # since weights were given
        return self._ascent.update(circuit, found.gradient, self._config.lr * (1 - index / self.num_steps))

    def state(self) -> dict[str, Tensor]:
        """See `Stage`."""
        return self._ascent.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See `Stage`."""
        self._ascent.load_state(state)


def measure(circuit: HMM, evidence: Evidence, rows: Sequence[int], batch_size: int) -> dict[str, float]:
    """Log-likelihood of a masked token given the known ones: backbone alone, and with the circuit."""
    backbone, coupled, num_masked = 0.0, 0.0, 0
    for start in range(0, len(rows), batch_size):
        batch = evidence.batch(rows[start : start + batch_size], HELD_OUT_DRAW)
        if not len(batch.tokens):
            continue
        found = conditional(circuit, batch.tokens, batch.masked, batch.log_evidence)
        backbone += found.backbone.double().sum().item()
        coupled += found.circuit.double().sum().item()
        num_masked += len(batch.log_evidence)
    return {"backbone": backbone / num_masked, "coupled": coupled / num_masked}
