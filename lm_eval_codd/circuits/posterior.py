"""A circuit under evidence: log Z, latent paths, exact marginals, all from the leaves and one backward chain."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.circuits import chain
from lm_eval_codd.circuits.chain import LEAST_SHARE, widest
from lm_eval_codd.circuits.emissions import by_table, known_leaves, log_emission

if TYPE_CHECKING:
    from lm_eval_codd.circuits.tables import Tables


# Contexts up to here stand in a product with emissions without leaving the dtype's range.
_LARGEST_LOG: Final = {torch.float32: 80.0, torch.float64: 640.0}


@dataclass(frozen=True, eq=False)
class Posterior:
    """What `HMM.evaluate` returns. It keeps the evidence tensor itself: leave that unchanged while it is in use.

    `sample`, `max`, `latent_posterior`, `couple_masked` and `masked_token_marginals` do not wait for the device, except
    that `places` has to be found after `observe` and `select`, and positions grouped where each has its own emissions.

    Attributes:
        circuit: the circuit that was conditioned.
        observed: [B, T] int64, the token where known and -1 where masked.
        log_partition: [B], log Z; -inf where the evidence is impossible.
        impossible: [B] bool, rows whose evidence leaves no mass. Their answers are the circuit's without evidence.
        log_leaf: [B, T, H], log leaves, up to `log_scale`.
        log_scale: [B, T], what was taken out of the leaves of masked positions.
        log_beta: [B, T, H], log p(evidence to the right | z_t), up to a scale.
        evidence, rows: [N, V] log evidence and, [B, T], the row of it that belongs to each position.
        evaluated_places: `places` as `HMM.evaluate` had them; None once rows were selected or tokens committed.
    """

    circuit: Tables
    observed: Tensor
    log_partition: Tensor
    impossible: Tensor
    log_leaf: Tensor
    log_scale: Tensor
    log_beta: Tensor
    evidence: Tensor
    rows: Tensor
    evaluated_places: Tensor | None = None

    @classmethod
    def build(
        cls,
        circuit: Tables,
        evidence: Tensor,
        rows: Tensor,
        observed: Tensor,
        log_leaf: Tensor,
        log_scale: Tensor,
        log_beta: Tensor,
        log_masses: Tensor,
        evaluated_places: Tensor | None = None,
    ) -> Posterior:
        """Put a posterior together, and leave rows without mass with no evidence at all."""
        impossible = no_mass(log_masses)
        # With leaves of one, beta is one as well: the rows of a transition sum to one.
        without_evidence = impossible[:, None, None]
        return cls(
            circuit=circuit,
            observed=observed,
            log_partition=(log_masses + log_scale).sum(-1).masked_fill(impossible, -torch.inf).to(log_leaf.dtype),
            impossible=impossible,
            log_leaf=log_leaf.masked_fill(without_evidence, 0),
            log_scale=log_scale,
            log_beta=log_beta.masked_fill(without_evidence, 0),
            evidence=evidence,
            rows=rows,
            evaluated_places=evaluated_places,
        )

    @cached_property
    def places(self) -> Tensor:
        """[M] int64: where the masked positions stand among the B * T, in row-major order."""
        return masked_places(self.observed) if self.evaluated_places is None else self.evaluated_places

    def observe(self, tokens: Tensor) -> Posterior:
        """Commit some masked positions, given as tokens [B, T] with -1 where nothing is committed.

        The leaves of all other positions stay, so this costs a chain and no pass over the emission table. It waits
        for the device only where the circuit is not `HMM.always_possible`.
        """
        committed = (tokens >= 0) & (self.observed < 0)
        log_leaf = known_leaves(self.circuit, tokens).log_().where(committed[..., None], self.log_leaf)
        log_beta, log_masses = self.circuit.chain_mass(log_leaf)
        return Posterior.build(
            circuit=self.circuit,
            evidence=self.evidence,
            rows=self.rows,
            observed=tokens.where(committed, self.observed),
            log_leaf=log_leaf,
            log_scale=self.log_scale.masked_fill(committed, 0),
            log_beta=log_beta,
            log_masses=log_masses.masked_fill(self.impossible[:, None], -torch.inf),
        )

    def latent_posterior(self) -> Tensor:
        """[B, T, H]: p(z_t | evidence)."""
        return (self.log_prediction() + self.log_beta + self.log_leaf).softmax(-1).to(self.log_leaf.dtype)

    def log_prediction(self) -> Tensor:
        """[B, T, H]: log p(z_t, evidence to the left), up to a scale for each position, in the widest dtype."""
        tables = self.circuit.chain_tables(wide := widest(self.log_leaf.device))
        pass_on = chain.passed_on if self.circuit.stays_in_range(wide) else chain.passed_on_exactly
        return chain.forward(*tables, self.log_leaf.to(wide), pass_on)

    def token_marginals(self) -> Tensor:
        """[B, T, V]: p(x_t | evidence), one-hot where observed; 0 where V leaves the circuit no token to emit."""
        known = self.observed[..., None]
        marginals = self.log_leaf.new_zeros(*self.observed.shape, self.evidence.shape[-1])
        marginals.scatter_(-1, known.clamp(min=0), (known >= 0).to(marginals.dtype))
        marginals.view(-1, marginals.shape[-1]).index_copy_(0, self.places, self.masked_token_marginals())
        return marginals

    def masked_token_marginals(self) -> Tensor:
        """[M, V]: p(x_t | evidence) of the masked positions only, in row-major order."""
        # Everything but the position's own evidence, relative to the latent that matters most, so that a latent
        # which its evidence rules out cannot push the others out of range.
        log_context = self._at_masked(self.log_prediction() + self.log_beta)
        log_weight = log_context + self._at_masked(self.log_leaf)
        leading = log_weight.argmax(-1, keepdim=True)
        log_context = log_context - log_context.gather(-1, leading)
        context = log_context.clamp(max=_LARGEST_LOG[self.circuit.dtype]).exp()

        blank = self._at_masked(self.impossible[:, None].expand_as(self.observed))[:, None]
        vocab_size = self.evidence.shape[-1]
        marginals = self.log_leaf.new_empty(len(context), vocab_size)
        for table, part in by_table(self.circuit, self.places, vocab_size):
            predicted = (context[part].to(table.dtype) @ table).to(marginals.dtype).log_()
            marginals[part] = predicted.add_(self.masked_evidence(part).masked_fill(blank[part], 0)).softmax(-1)
        if not self.circuit.always_possible:
            self._redo_far_contexts(marginals, log_context, log_weight - log_weight.gather(-1, leading))
            # Without evidence such a circuit may have none of the tokens that the evidence was of.
            marginals.nan_to_num_(nan=0.0)
        return marginals

    def _redo_far_contexts(self, marginals: Tensor, log_context: Tensor, log_weight: Tensor) -> None:
        """Overwrite, in log space, positions of `marginals` [M, V] whose latents matter alike from far apart contexts.

        `log_context` and `log_weight` [M, H] are without and with the position's own evidence, relative to the latent
        of the largest weight.
        """
        matters = log_weight > math.log(LEAST_SHARE[torch.float32])
        far = (log_context.abs() > _LARGEST_LOG[self.circuit.dtype]) & log_context.isfinite() & matters
        for place in far.any(-1).nonzero()[:, 0].tolist():
            latents = matters[place].nonzero()[:, 0]
            position = (self.places[place] % self.circuit.num_positions).expand_as(latents)
            spoken = log_emission(self.circuit, latents, position, marginals.shape[-1]).to(log_context.dtype)
            predicted = spoken.add_(log_context[place, latents][:, None]).logsumexp(0)
            marginals[place] = (predicted + self.masked_evidence(self.places.new_tensor([place]))[0]).softmax(-1)

    def masked_evidence(self, part: slice | Tensor = slice(None)) -> Tensor:
        """[..., V]: the log evidence of some of the M masked positions; not to be written to."""
        if self.evaluated_places is not None and len(self.evaluated_places) == len(self.evidence):
            return self.evidence[part]
        return self.evidence[self._at_masked(self.rows)[part]]

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

        Raises:
            ValueError: `uniforms` has another shape, or `generator` lists more or fewer than one a row.
        """
        if uniforms is None:
            uniforms = _uniforms(self.observed.shape, generator, self.log_leaf)
        elif uniforms.shape != self.observed.shape:
            raise ValueError(f"`uniforms` has shape {list(uniforms.shape)}; it must be {list(self.observed.shape)}")
        return self.circuit.draw(self.log_leaf + self.log_beta, uniforms)

    def max(self) -> Tensor:
        """[B, T] int64: the most likely latent path of each row (Viterbi); the lowest latent on ties."""
        return chain.best_path(*self.circuit.log_chain_tables, self.log_leaf)

    def couple_masked(self, latents: Tensor) -> Tensor:
        """[M, V]: `HMM.couple` at the masked positions only, in row-major order, for `latents` [B, T]."""
        positions = self.places % self.circuit.num_positions
        spoken = log_emission(self.circuit, self._at_masked(latents), positions, self.evidence.shape[-1])
        return spoken.add_(self.masked_evidence())

    def select(self, keep: Tensor) -> Posterior:
        """The posterior of some rows only; `keep` [B] bool or row indices."""
        fields = ("observed", "log_partition", "impossible", "log_leaf", "log_scale", "log_beta", "rows")
        kept = {name: getattr(self, name)[keep] for name in fields}
        return replace(self, **kept, evaluated_places=None)

    def _at_masked(self, values: Tensor) -> Tensor:
        """[M, ...]: what [B, T, ...] holds at the masked positions."""
        return values.flatten(0, 1).index_select(0, self.places)


def masked_places(observed: Tensor) -> Tensor:
    """[M] int64: where `observed` [B, T] is negative, in row-major order. Waits for the device."""
    return (observed.flatten() < 0).nonzero()[:, 0]


def no_mass(log_masses: Tensor) -> Tensor:
    """[B] bool: rows without any mass, from the parts [B, T] that `chain.backward` gives."""
    return ~(log_masses.sum(-1) > -torch.inf)


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
