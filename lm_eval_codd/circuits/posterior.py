"""A circuit under evidence: log Z, latent paths, exact marginals, all from the leaves and one backward chain.

beta_t(i) = sum_j transition[i, j] leaf_t+1(j) beta_t+1(j) runs right to left; its messages leaf * beta are what draws
and Viterbi need on the way back. Messages are kept as logs and shifted to a peak of one before each step, so that very
peaked evidence neither overflows nor vanishes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lm_eval_codd.circuits.hmm import HMM


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """What `HMM.evaluate` returns. It keeps the evidence tensor itself: leave that unchanged while it is in use.

    Attributes:
        circuit: the circuit that was conditioned.
        observed: [B, T] int64, the token where known and -1 where masked.
        log_partition: [B], log Z; -inf where the evidence is impossible.
        impossible: [B] bool, rows whose evidence leaves no mass. Their answers are the circuit's without evidence.
        log_leaf: [B, T, H], log leaves, up to `log_scale`.
        log_scale: [B, T], what was taken out of the leaves of masked positions.
        log_beta: [B, T, H], log p(evidence to the right | z_t), up to a scale.
        evidence, rows: [N, V] log evidence and, [B, T], the row of it that belongs to each position.
    """

    circuit: HMM
    observed: Tensor
    log_partition: Tensor
    impossible: Tensor
    log_leaf: Tensor
    log_scale: Tensor
    log_beta: Tensor
    evidence: Tensor
    rows: Tensor

    @classmethod
    def build(
        cls,
        circuit: HMM,
        evidence: Tensor,
        rows: Tensor,
        observed: Tensor,
        log_leaf: Tensor,
        log_scale: Tensor,
        log_beta: Tensor,
        log_mass: Tensor,
    ) -> Posterior:
        """Put a posterior together, and leave rows without mass with no evidence at all."""
        impossible = log_mass.isneginf()
        # With leaves of one, beta is one as well: the rows of a transition sum to one.
        without_evidence = impossible[:, None, None]
        return cls(
            circuit=circuit,
            observed=observed,
            log_partition=log_mass + log_scale.sum(-1),
            impossible=impossible,
            log_leaf=log_leaf.masked_fill(without_evidence, 0),
            log_scale=log_scale,
            log_beta=log_beta.masked_fill(without_evidence, 0),
            evidence=evidence,
            rows=rows,
        )

    def observe(self, tokens: Tensor) -> Posterior:
        """Commit some masked positions, given as tokens [B, T] with -1 where nothing is committed.

        The leaves of all other positions stay, so this costs a chain and no pass over the emission table.
        """
        committed = (tokens >= 0) & (self.observed < 0)
        log_leaf, log_scale = self.log_leaf.clone(), self.log_scale.masked_fill(committed, 0)
        _, positions = committed.nonzero(as_tuple=True)
        log_leaf[committed] = self.circuit.hard_leaves(positions, tokens[committed])
        log_beta, log_mass = chain_mass(self.circuit, log_leaf)
        log_mass = log_mass.masked_fill(self.impossible, -torch.inf)
        observed = tokens.where(committed, self.observed)
        return Posterior.build(
            self.circuit, self.evidence, self.rows, observed, log_leaf, log_scale, log_beta, log_mass
        )

    def latent_posterior(self) -> Tensor:
        """[B, T, H]: p(z_t | evidence)."""
        return (self.log_prediction() + self.log_beta + self.log_leaf).softmax(-1).to(self.log_leaf.dtype)

    def log_prediction(self) -> Tensor:
        """[B, T, H]: log p(z_t, evidence to the left), up to a scale for each position, in the widest dtype."""
        dtype = widest(self.log_leaf.device)
        log_leaf = self.log_leaf.to(dtype)
        transitions = self.circuit.each_step(self.circuit.transition.to(dtype))
        prediction = torch.empty_like(log_leaf)
        prediction[:, 0] = self.circuit.initial.to(dtype).log()
        for t, transition in enumerate(transitions):
            forward, _ = _at_peak_one(prediction[:, t] + log_leaf[:, t])
            prediction[:, t + 1] = (forward @ transition).log()
        return prediction

    def token_marginals(self) -> Tensor:
        """[B, T, V]: p(x_t | evidence), one-hot where observed."""
        marginals = self.log_leaf.new_zeros(*self.observed.shape, self.evidence.shape[-1])
        masked = self.observed < 0
        marginals[masked] = self.masked_token_marginals()
        batch, position = (~masked).nonzero(as_tuple=True)
        marginals[batch, position, self.observed[~masked]] = 1
        return marginals

    def masked_token_marginals(self) -> Tensor:
        """[M, V]: p(x_t | evidence) of the masked positions only, in row-major order."""
        masked = self.observed < 0
        batch, positions = masked.nonzero(as_tuple=True)
        # Everything but the position's own evidence, relative to the latent that matters most, so that a latent
        # which its evidence rules out cannot push the others out of range.
        log_context = (self.log_prediction() + self.log_beta)[masked]
        leading = (log_context + self.log_leaf[masked]).argmax(-1, keepdim=True)
        context = (log_context - log_context.gather(-1, leading)).clamp(max=85).exp()

        rows, blank = self.rows[masked], self.impossible[batch]
        vocab_size = self.evidence.shape[-1]
        marginals = self.log_leaf.new_empty(len(rows), vocab_size)
        for table, part in self.circuit.by_table(positions, vocab_size):
            predicted = (context[part].to(table.dtype) @ table).to(marginals.dtype).log_()
            evidence = self.evidence[rows[part]].masked_fill_(blank[part, None], 0)
            marginals[part] = predicted.add_(evidence).softmax(-1)
        return marginals

    def sample(
        self,
        generator: torch.Generator | list[torch.Generator] | None = None,
        *,
        uniforms: Tensor | None = None,
    ) -> Tensor:
        """Draw one joint latent path a row by inverse CDF, left to right.

        Args:
            generator: of the uniform numbers; a list holds one for each row, which then depends on nothing else.
            uniforms: [B, T] in [0, 1), the numbers themselves, instead of a generator.

        Returns:
            [B, T] int64. A latent of zero probability is never drawn.
        """
        if uniforms is None:
            uniforms = _uniforms(self.observed.shape, generator, self.log_leaf)
        elif uniforms.shape != self.observed.shape:
            raise ValueError(f"`uniforms` has shape {list(uniforms.shape)}; it must be {list(self.observed.shape)}")
        transitions = self.circuit.each_step(self.circuit.transition)
        log_message = self.log_leaf + self.log_beta
        latents = torch.empty_like(self.observed)
        log_weights = self.circuit.initial.log() + log_message[:, 0]
        for t in range(self.circuit.num_positions):
            latents[:, t] = _inverse_cdf(log_weights, uniforms[:, t, None])
            if t + 1 < self.circuit.num_positions:
                log_weights = transitions[t][latents[:, t]].log() + log_message[:, t + 1]
        return latents

    def max(self) -> Tensor:
        """[B, T] int64: the most likely latent path of each row (Viterbi); the lowest latent on ties."""
        log_transitions = self.circuit.each_step(self.circuit.transition.log())
        best = torch.zeros_like(self.log_leaf[:, 0])
        successor = []
        for t in reversed(range(len(log_transitions))):
            scores = log_transitions[t] + (self.log_leaf[:, t + 1] + best)[:, None]
            best, choice = scores.max(-1)
            successor.append(choice)
        latents = [(self.circuit.initial.log() + self.log_leaf[:, 0] + best).argmax(-1, keepdim=True)]
        for choice in reversed(successor):
            latents.append(choice.gather(1, latents[-1]))
        return torch.cat(latents, 1)

    def couple_masked(self, latents: Tensor) -> Tensor:
        """[M, V]: `HMM.couple` at the masked positions only, in row-major order, for `latents` [B, T]."""
        masked = self.observed < 0
        _, positions = masked.nonzero(as_tuple=True)
        log_emission = self.circuit.log_emission(latents[masked], positions, self.evidence.shape[-1])
        return log_emission.add_(self.evidence[self.rows[masked]])

    def select(self, keep: Tensor) -> Posterior:
        """The posterior of some rows only; `keep` [B] bool or row indices."""
        fields = ("observed", "log_partition", "impossible", "log_leaf", "log_scale", "log_beta", "rows")
        return replace(self, **{name: getattr(self, name)[keep] for name in fields})


def chain_mass(circuit: HMM, log_leaf: Tensor) -> tuple[Tensor, Tensor]:
    """The backward chain over leaves [B, T, H]: log beta [B, T, H] up to a scale, and the log mass [B] of the leaves.

    Rows that run out of float32's range on the way are run again in the widest dtype.
    """
    log_beta, log_mass = _backward(circuit, log_leaf)
    lost = log_mass.isneginf()
    if lost.any() and log_leaf.dtype != (wide := widest(log_leaf.device)):
        again_beta, again_mass = _backward(circuit, log_leaf[lost].to(wide))
        log_beta[lost], log_mass[lost] = again_beta.to(log_beta.dtype), again_mass.to(log_mass.dtype)
    return log_beta, log_mass


def widest(device: torch.device) -> torch.dtype:
    """The widest float of a device; Apple's GPUs have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def _backward(circuit: HMM, log_leaf: Tensor) -> tuple[Tensor, Tensor]:
    transitions = circuit.each_step(circuit.transition.to(log_leaf.dtype))
    log_beta = torch.zeros_like(log_leaf)
    shifts = []
    for t in reversed(range(circuit.num_positions)):
        message, shift = _at_peak_one(log_leaf[:, t] + log_beta[:, t])
        shifts.append(shift)
        if t:
            log_beta[:, t - 1] = (message @ transitions[t - 1].T).log()
    log_mass = (message @ circuit.initial.to(message.dtype)).log() + torch.cat(shifts, -1).sum(-1)
    return log_beta, log_mass


def _at_peak_one(log_values: Tensor) -> tuple[Tensor, Tensor]:
    """exp(log_values - shift) with a peak of one in each row, and the shift [..., 1]; a row of -inf becomes zeros."""
    shift = log_values.amax(-1, keepdim=True)
    shift = shift.where(shift.isfinite(), 0)
    return (log_values - shift).exp(), shift


def _inverse_cdf(log_weights: Tensor, uniforms: Tensor) -> Tensor:
    """[B]: for each row, the first index whose cumulative weight exceeds its uniform [B, 1] share of the total."""
    weights, _ = _at_peak_one(log_weights)
    cumulative = weights.cumsum(-1)
    beyond = cumulative > uniforms * cumulative[..., -1:]
    # Rounding may leave no index beyond, or put one of zero weight there: a positive weight is asked for first, and
    # `argmax` takes the first of equals.
    positive = weights > 0
    return (positive.int() + (positive & beyond).int()).argmax(-1)


def _uniforms(shape: torch.Size, generator: torch.Generator | list[torch.Generator] | None, like: Tensor) -> Tensor:
    if not isinstance(generator, list | tuple):
        device = like.device if generator is None else generator.device
        return torch.rand(shape, generator=generator, dtype=like.dtype, device=device).to(like.device)
    if len(generator) != shape[0]:
        raise ValueError(f"`generator` lists {len(generator)} generators for {shape[0]} rows; give one a row")
    uniforms = like.new_empty(shape)
    for row, one in zip(uniforms, generator, strict=True):
        row.copy_(torch.rand(shape[1], generator=one, dtype=like.dtype, device=one.device))
    return uniforms
