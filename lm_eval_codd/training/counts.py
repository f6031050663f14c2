"""Expected counts: how often each parameter of a circuit is used, under hard or soft evidence.

They are the sufficient statistics of EM, and the gradient of a log partition with respect to the logarithms of the
parameters. Nothing of size [windows, T, H, V] is built: known tokens add latent posteriors to columns, soft evidence
takes one matrix product, transitions another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.circuits.emissions import by_table

if TYPE_CHECKING:
    from lm_eval_codd.circuits.hmm import HMM
    from lm_eval_codd.circuits.posterior import Posterior
    from lm_eval_codd.circuits.tables import Tables


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """One number for each parameter of a circuit, in the shape of its table; shared tables sum over positions.

    Attributes:
        initial, transition, emission: shaped as the circuit's.
        num_windows: total weight of the windows that were counted.
    """

    initial: Tensor
    transition: Tensor
    emission: Tensor
    num_windows: float

    @classmethod
    def zeros(cls, circuit: Tables) -> Counts:
        """Nothing counted yet, in the dtype of the circuit's chain."""

        def like(table: Tensor) -> Tensor:
            return torch.zeros(table.shape, dtype=circuit.dtype, device=circuit.device)

        return cls(like(circuit.initial), like(circuit.transition), like(circuit.emission), num_windows=0.0)

    def tables(self) -> tuple[Tensor, Tensor, Tensor]:
        """Initial, transition, emission."""
        return self.initial, self.transition, self.emission

    def add(self, other: Counts, scale: float = 1.0) -> Counts:
        """Add `scale` times another's counts in place; `num_windows` is the sum of both."""
        for mine, theirs in zip(self.tables(), other.tables(), strict=True):
            mine.add_(theirs, alpha=scale)
        return Counts(*self.tables(), self.num_windows + other.num_windows)


def expected_counts(posterior: Posterior, weights: Tensor | None = None) -> Counts:
    """Sum over windows of the expected uses of each parameter given the evidence.

    Args:
        posterior: N windows under their evidence. Windows whose evidence is impossible are left out.
        weights: [N], how often each window counts; None counts each once.
    """
    weights = torch.ones_like(posterior.log_partition) if weights is None else weights
    possible = ~posterior.impossible
    if not possible.all():
        posterior, weights = posterior.select(possible), weights[possible]
    circuit, counts = posterior.circuit, Counts.zeros(posterior.circuit)
    log_prediction = posterior.log_prediction()
    log_context = log_prediction + posterior.log_beta
    log_mass = (log_context + posterior.log_leaf).logsumexp(-1, keepdim=True)
    latents = (log_context + posterior.log_leaf - log_mass).exp_().mul_(weights[:, None, None]).to(circuit.dtype)

    counts.initial.add_(latents[:, 0].sum(0))
    _count_transitions(counts.transition, posterior, log_prediction, weights)
    observed = posterior.observed >= 0
    _count_known(counts.emission, latents[observed], observed.nonzero()[:, 1], posterior.observed[observed])
    # A position's soft counts are E[h, v] w(v) c(h), with c(h) its latents' posterior over its leaf.
    log_context = (log_context - log_mass)[~observed]
    context = log_context.clamp(max=85).exp_().mul_(weights.repeat_interleave((~observed).sum(1))[:, None])
    _count_soft(counts.emission, posterior, context.to(circuit.dtype))
    return Counts(*counts.tables(), num_windows=float(weights.sum()))


def prior_counts(circuit: HMM) -> Counts:
    """Expected uses of each parameter in one window that the circuit itself draws."""
    latents = [circuit.initial]
    for transition in circuit.each_step(circuit.transition):
        latents.append(latents[-1] @ transition)
    uses = torch.stack(latents)
    steps = uses[:-1] if circuit.transition.dim() == 3 else uses[:-1].sum(0)
    positions = uses if circuit.emission.dim() == 3 else uses.sum(0)
    return Counts(
        circuit.initial.clone(),
        steps[..., None] * circuit.transition,
        positions[..., None] * circuit.emission,
        num_windows=1.0,
    )


def _count_transitions(counts: Tensor, posterior: Posterior, log_prediction: Tensor, weights: Tensor) -> None:
    """Pairs of neighbours: p(z_t = i, z_t+1 = j) is forward_t(i) transition[i, j] message_t+1(j), scaled to sum to one.

    `counts` is [H, H], or [T - 1, H, H].
    """
    forward = _at_peak_one(log_prediction[:, :-1] + posterior.log_leaf[:, :-1])
    message = _at_peak_one((posterior.log_beta + posterior.log_leaf)[:, 1:].to(forward.dtype))
    transition = posterior.circuit.transition.to(forward.dtype)
    arriving = torch.einsum("tij, ntj -> nti", posterior.circuit.each_step(transition), message)
    mass = (forward * arriving).sum(-1, keepdim=True)
    # Where the mass is lost to rounding the pair is not counted, rather than made up.
    forward = (forward * weights[:, None, None] / mass).masked_fill_(mass == 0, 0)
    pairs = "nti, ntj -> tij" if transition.dim() == 3 else "nti, ntj -> ij"
    counts.add_((torch.einsum(pairs, forward, message) * transition).to(counts.dtype))


def _count_known(counts: Tensor, latents: Tensor, positions: Tensor, tokens: Tensor) -> None:
    """Add latent posteriors [K, H] to the columns of K known tokens."""
    if counts.dim() == 2:
        counts.T.index_add_(0, tokens, latents)
    else:
        counts.transpose(1, 2).index_put_((positions, tokens), latents, accumulate=True)


def _count_soft(counts: Tensor, posterior: Posterior, context: Tensor) -> None:
    """Add E * (context^T @ weights of the evidence) for contexts [M, H] of the masked positions."""
    circuit, places = posterior.circuit, posterior.places
    vocab_size = posterior.evidence.shape[-1]
    tables = circuit.emission[..., :vocab_size]
    wanted = counts[..., :vocab_size]
    sums: dict[int, Tensor] = {}
    for table, part in by_table(circuit, places, vocab_size):
        evidence = posterior.masked_evidence(part).to(counts.dtype)
        evidence = (evidence - evidence.amax(-1, keepdim=True)).exp_()
        which = 0 if tables.dim() == 2 else int(places[part][0]) % circuit.num_positions
        if which not in sums:
            sums[which] = torch.zeros(table.shape, dtype=counts.dtype, device=counts.device)
        sums[which].addmm_(context[part].T, evidence)
    for which, total in sums.items():
        into, table = (wanted, tables) if tables.dim() == 2 else (wanted[which], tables[which])
        into.add_(total.mul_(table))


def _at_peak_one(log_values: Tensor) -> Tensor:
    shift = log_values.amax(-1, keepdim=True)
    return (log_values - shift.where(shift.isfinite(), 0)).exp_()
