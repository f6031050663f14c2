"""Training: EM, mini-batch EM and Anemone on windows of tokens, and the paper's conditional objective.

Nothing here knows where windows or evidence come from. An update takes a circuit and expected counts and returns the
next circuit, so a caller may add up counts over as many batches as it likes in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from lm_eval_codd.circuits.hmm import HMM
from lm_eval_codd.training.counts import Counts, expected_counts, prior_counts

TABLES: Final = ("initial", "transition", "emission")
# The defaults of PyJuice's Anemone.
STEP_SIZE: Final = 0.4
MOMENTUM: Final = 0.9
PSEUDOCOUNT: Final = 1e-6
# A second moment over 100 updates, not 1000: training is a few hundred.
_BETAS: Final = (0.9, 0.99)


def random_circuit(
    token_frequencies: Tensor, num_positions: int, num_latents: int, generator: torch.Generator | None = None
) -> HMM:
    """A circuit to start from: tied tables, every latent a different perturbation of the tokens' frequencies.

    Args:
        token_frequencies: [V], not negative; they need not sum to one. A token of frequency zero is never emitted.
        num_positions: T.
        num_latents: H.
        generator: of the perturbations, on the CPU.
    """

    def perturbed(frequencies: Tensor, *shape: int) -> Tensor:
        noise = torch.empty(*shape, len(frequencies), dtype=torch.float32).exponential_(generator=generator)
        rows = frequencies * noise.to(frequencies.device)
        return rows / rows.sum(-1, keepdim=True)

    latents = torch.ones(num_latents, device=token_frequencies.device)
    return HMM(
        perturbed(latents),
        perturbed(latents, num_latents),
        perturbed(token_frequencies.float(), num_latents),
        num_positions,
    )


def without_frequencies(circuit: HMM) -> HMM:
    """The circuit with each token's frequency divided out of its emissions, rows scaled back to sum to one.

    A start for the conditional objective. What maximum likelihood learns holds the frequencies of tokens, and so do a
    good backbone's predictions: their product counts them twice. What remains is which tokens go together.
    """
    uses = prior_counts(circuit).emission
    frequencies = uses.sum(-2, keepdim=True)
    emission = (circuit.emission / frequencies).where(frequencies > 0, 0)
    return HMM(circuit.initial, circuit.transition, emission / emission.sum(-1, keepdim=True), circuit.num_positions)


def known_windows(circuit: HMM, tokens: Tensor) -> tuple[Tensor, Counts]:
    """Log-likelihoods [N] of windows of tokens [N, T], and the counts that EM needs."""
    posterior = circuit.evaluate(circuit.initial.new_empty(0, circuit.vocab_size), tokens)
    return posterior.log_partition, expected_counts(posterior)


def em_update(circuit: HMM, counts: Counts, step_size: float = 1.0, pseudocount: float = 0.0) -> HMM:
    """EM: theta <- (1 - eta) theta + eta (F + pc / K) / (sum F + pc), for each row of K probabilities.

    With `step_size` eta = 1 and counts of the whole data this is Baum-Welch; below 1, with counts of a batch,
    mini-batch EM (PyJuice's FullBatchEM and MiniBatchEM). A row that was never used stays.
    """

    def mixed(table: Tensor, uses: Tensor) -> Tensor:
        return table.lerp(_rows(uses, pseudocount, table), step_size)

    return _updated(circuit, counts, mixed)


class Anemone:
    """Mini-batch EM whose step is bounded by how much the whole circuit changes (PyJuice 2.6.3, optim/anemone.py).

    theta <- (G + pc / K) / (sum G + pc) with G = eta F / N + (1 - eta) Q, where F are the counts of N windows, smoothed
    by momentum with Adam's correction of its start, and Q the uses that one window drawn from the circuit makes. A row
    that the circuit rarely reaches moves fast, and a row in constant use slowly.

    Args:
        step_size: eta, in (0, 1].
        momentum: in [0, 1).
        pseudocount: pc, spread over each row; the counts it adds to are those of one window.
    """

    def __init__(
        self, step_size: float = STEP_SIZE, momentum: float = MOMENTUM, pseudocount: float = PSEUDOCOUNT
    ) -> None:
        self.step_size, self.momentum, self.pseudocount = step_size, momentum, pseudocount
        self._smooth: Counts | None = None
        self._num_updates = 0

    def update(self, circuit: HMM, counts: Counts) -> HMM:
        """The next circuit, from the counts of at least one window."""
        if self._smooth is None:
            self._smooth = Counts.zeros(circuit)
        for smooth, fresh in zip(self._smooth.tables(), counts.tables(), strict=True):
            smooth.lerp_(fresh, 1 - self.momentum)
        self._num_updates += 1
        share = self.step_size / (counts.num_windows * (1 - self.momentum**self._num_updates))
        goal = prior_counts(circuit)
        for prior, smooth in zip(goal.tables(), self._smooth.tables(), strict=True):
            prior.mul_(1 - self.step_size).add_(smooth, alpha=share)
        return _updated(circuit, goal, lambda table, uses: _rows(uses, self.pseudocount, table))

    def state(self) -> dict[str, Tensor]:
        """What `load_state` needs to go on from here."""
        if self._smooth is None:
            return {}
        smooth = dict(zip(TABLES, self._smooth.tables(), strict=True))
        return {**smooth, "num_updates": torch.tensor(self._num_updates)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on where `state` was taken."""
        if state:
            self._smooth = Counts(state["initial"], state["transition"], state["emission"], num_windows=0.0)
            self._num_updates = int(state["num_updates"])


@dataclass(frozen=True, slots=True, eq=False)
class Conditional:
    """Log-likelihoods of windows' masked tokens given their known ones.

    Attributes:
        circuit: [N], log p_hat(x0 | xt): backbone and circuit together.
        backbone: [N], sum of log p_theta(x0_i | xt) over the masked positions: the backbone alone.
        gradient: of sum_n weights[n] * circuit[n] with respect to the logarithms of the circuit's parameters; None
            when it was not asked for.
    """

    circuit: Tensor
    backbone: Tensor
    gradient: Counts | None = None


def conditional(
    circuit: HMM, tokens: Tensor, masked: Tensor, log_evidence: Tensor, weights: Tensor | None = None
) -> Conditional:
    """The paper's objective (arXiv 2603.00045, Eq. 7) for a batch, and with `weights` its gradient.

    log p_hat(x0 | xt) = log p_omega(x0) + sum_masked log w_t(x0_t) - log Z(known tokens, w). Its gradient with respect
    to the logarithms of the parameters is F+ - F-: the expected counts clamped to x0 less those under the evidence.

    Args:
        circuit: p_omega.
        tokens: [N, T] int64, the windows of x0.
        masked: [N, T] bool, which positions of them are masked in xt.
        log_evidence: [M, V] log probabilities of the backbone at the masked positions, in row-major order. V may be
            smaller than the circuit's vocabulary.
        weights: [N], w(t) of each window; None computes no gradient.
    """
    x0 = circuit.evaluate(circuit.initial.new_empty(0, circuit.vocab_size), tokens)
    xt = circuit.evaluate(log_evidence, tokens.masked_fill(masked, -1))
    own = log_evidence.gather(1, tokens[masked][:, None])[:, 0].to(circuit.dtype)
    backbone = torch.zeros_like(x0.log_partition).index_add_(0, masked.nonzero()[:, 0], own)
    log_p_hat = x0.log_partition + backbone - xt.log_partition
    if weights is None:
        return Conditional(log_p_hat, backbone)
    # A window that either side rules out pulls nowhere.
    weights = weights.masked_fill(x0.impossible | xt.impossible, 0)
    gradient = expected_counts(x0, weights).add(expected_counts(xt, weights), scale=-1)
    return Conditional(log_p_hat, backbone, gradient)


class ConditionalAscent:
    """Ascends the conditional objective by Adam, on logits whose softmax are the rows of the circuit.

    Chosen by measurement: from one circuit and over the same 240 batches of the demo's problems, the held-out
    log-likelihood per masked token went from -0.856 to -0.750 (Adam, learning rate 0.1, linear decay), and to -0.836
    at best by the multiplicative update of PyJuice's SoftEvidenceCategorical, theta (1 - eta + eta F+ / F-), on counts
    with momentum: F- of a batch is close to zero for many tokens that F+ holds, and the other way round, so its ratio
    is noisy where Adam's difference is not. A parameter that is zero stays zero.
    """

    def __init__(self) -> None:
        self._logits: list[Tensor] = []
        self._adam: torch.optim.Adam | None = None

    def update(self, circuit: HMM, gradient: Counts, learning_rate: float) -> HMM:
        """The next circuit, from the `gradient` of `conditional` for the circuit of the last update.

        Scale the gradient to that of a mean over tokens or windows; far below that, Adam's epsilon of 1e-8 shows.
        """
        adam = self._adam or self._start([getattr(circuit, name).log() for name in TABLES])
        for logits, name in zip(self._logits, TABLES, strict=True):
            pull = getattr(gradient, name)
            # Of the softmax, and downhill, which is where Adam goes.
            logits.grad = (getattr(circuit, name) * pull.sum(-1, keepdim=True)).sub_(pull)
        adam.param_groups[0]["lr"] = learning_rate
        adam.step()
        for logits in self._logits:
            logits.grad = None
        initial, transition, emission = (logits.softmax(-1) for logits in self._logits)
        return HMM(initial, transition, emission, circuit.num_positions)

    def state(self) -> dict[str, Tensor]:
        """What `load_state` needs to go on from here."""
        if self._adam is None:
            return {}
        tensors = {}
        for logits, name in zip(self._logits, TABLES, strict=True):
            tensors[f"{name}.logits"] = logits
            tensors |= {f"{name}.{part}": tensor for part, tensor in self._adam.state[logits].items()}
        return tensors

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on where `state` was taken."""
        if not state:
            return
        adam = self._start([state[f"{name}.logits"] for name in TABLES])
        for logits, name in zip(self._logits, TABLES, strict=True):
            adam.state[logits] = {
                part: state[f"{name}.{part}"].to("cpu" if part == "step" else logits.device)
                for part in ("step", "exp_avg", "exp_avg_sq")
            }

    def _start(self, logits: list[Tensor]) -> torch.optim.Adam:
        self._logits = logits
        self._adam = torch.optim.Adam(logits, betas=_BETAS)
        return self._adam


def _updated(circuit: HMM, counts: Counts, update: Callable[[Tensor, Tensor], Tensor]) -> HMM:
    initial, transition, emission = (
        update(getattr(circuit, name), uses) for name, uses in zip(TABLES, counts.tables(), strict=True)
    )
    return HMM(initial, transition, emission, circuit.num_positions)


def _rows(uses: Tensor, pseudocount: float, table: Tensor) -> Tensor:
    """Rows of probabilities from counts; a row without any keeps `table`'s."""
    total = uses.sum(-1, keepdim=True) + pseudocount
    return ((uses + pseudocount / uses.shape[-1]) / total).where(total > 0, table)
