"""The hidden Markov circuit: its three tables, and what evidence makes of them.

p(x) = sum_z initial[z_0] prod_t transition[z_t, z_t+1] prod_t emission[z_t, x_t] over a window of T tokens, left to
right. Soft evidence w_t(v), one weight for each position and token, reweights it into p(x) prod_t w_t(x_t) / Z
(arXiv 2603.00045, Eq. 5). All that a query needs of the evidence is one number for each position and latent,

    leaf_t(h) = sum_v emission[h, v] w_t(v)        where the position is masked,
    leaf_t(h) = emission[h, x_t]                   where its token is known,

so the emission table meets the evidence in one matrix product, and everything after it is a chain over T
(`posterior.py`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from lm_eval_codd.circuits.posterior import Posterior, chain_mass, widest

# Rows of evidence turned into weights at a time: bounds the copy without starving the matrix product.
_ROWS_AT_A_TIME: Final = 256
# Columns of the emission table converted at a time where the product runs in a wider dtype than the table's.
_COLUMNS_AT_A_TIME: Final = 8192


class HMM:
    """A hidden Markov circuit over windows of `num_positions` tokens.

    Args:
        initial: [H], p(z_0).
        transition: [H, H], row = earlier latent, one for all steps; or [T - 1, H, H], one for each.
        emission: [H, V], one for all positions; or [T, H, V], one for each. May be bfloat16 when the others are
            float32; products then accumulate in float32.
        num_positions: T; needed where neither table says it.
        source: where the circuit came from, for results and messages.
        identity: content hash; computed from the tables when it is first asked for.

    Raises:
        ValueError: shapes that do not belong together, or dtypes that are not float32, float64 or (emission) bfloat16.
    """

    def __init__(
        self,
        initial: Tensor,
        transition: Tensor,
        emission: Tensor,
        num_positions: int | None = None,
        *,
        source: str = "memory",
        identity: str | None = None,
    ) -> None:
        lengths = {
            name: length
            for name, length in (
                ("num_positions", num_positions),
                ("transition", len(transition) + 1 if transition.dim() == 3 else None),
                ("emission", len(emission) if emission.dim() == 3 else None),
            )
            if length is not None
        }
        if len(set(lengths.values())) != 1 or min(lengths.values()) < 1:
            said = ", ".join(f"`{name}` says {length}" for name, length in lengths.items()) or "nothing says"
            raise ValueError(f"how many positions has the circuit? {said}; give `num_positions`, and let them agree")
        num_latents = len(initial)
        shapes = f"initial {list(initial.shape)}, transition {list(transition.shape)}, emission {list(emission.shape)}"
        if (
            initial.dim() != 1
            or transition.shape[-2:] != (num_latents, num_latents)
            or emission.dim() not in (2, 3)
            or emission.shape[-2] != num_latents
        ):
            raise ValueError(f"shapes do not make a circuit: {shapes}; expected [H], [(T - 1,) H, H], [(T,) H, V]")
        wide = initial.dtype in (torch.float32, torch.float64) and transition.dtype == initial.dtype
        narrow_emission = emission.dtype == torch.bfloat16 and initial.dtype == torch.float32
        if not wide or not (emission.dtype == initial.dtype or narrow_emission):
            raise ValueError(
                f"`dtype` of the tables is {initial.dtype}, {transition.dtype}, {emission.dtype}; "
                "use float32 or float64 throughout, or bfloat16 for the emission alone"
            )
        self.initial = initial
        self.transition = transition
        self.emission = emission
        self.num_positions = next(iter(lengths.values()))
        self.num_latents = num_latents
        self.vocab_size = emission.shape[-1]
        self.source = source
        self._identity = identity

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that answers come in; the emission table may be stored narrower."""
        return self.initial.dtype

    @property
    def device(self) -> torch.device:
        """Where the tables are."""
        return self.initial.device

    @property
    def identity(self) -> str:
        """Content hash of the tables, the same whatever file, dtype or device they were loaded from or to."""
        if self._identity is None:
            digest = hashlib.sha256(str(self.num_positions).encode())
            for table in (self.initial, self.transition, self.emission):
                digest.update(str(list(table.shape)).encode())
                digest.update(table.to(device="cpu", dtype=torch.float32).contiguous().numpy())
            self._identity = f"sha256:{digest.hexdigest()[:32]}"
        return self._identity

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> HMM:
        """The same circuit elsewhere. bfloat16 narrows the emission table only; the chain stays in float32."""
        chain = torch.float32 if dtype == torch.bfloat16 else dtype
        return HMM(
            self.initial.to(device, chain),
            self.transition.to(device, chain),
            self.emission.to(device, dtype),
            self.num_positions,
            source=self.source,
            identity=self.identity,
        )

    def each_step(self, table: Tensor) -> Tensor:
        """[T - 1, H, H]: a table of transitions (or of their logs), one for each step; a view where they are tied."""
        return table.expand(self.num_positions - 1, self.num_latents, self.num_latents)

    def evaluate(self, log_evidence: Tensor, observed: Tensor | None = None) -> Posterior:
        """Condition the circuit on evidence, with one pass over the emission table; the result answers every query.

        Args:
            log_evidence: [B, T, V], or [M, V] with the masked positions only, in row-major order. Any scale for each
                position: the scale goes into log Z and cancels everywhere else. -inf rules a token out. V may be
                smaller than the circuit's vocabulary: the tokens beyond have no evidence. Evidence at observed
                positions is not read.
            observed: [B, T] int64, the token where known and -1 where masked; None when all are masked.

        Returns:
            The posterior. A row whose evidence leaves no mass (or holds NaN or +inf) is flagged in
            `Posterior.impossible`: its log Z is -inf, and its other answers are those of the circuit without any
            evidence, so they are finite and in range.

        Raises:
            ValueError: shapes that are not the circuit's.
        """
        observed = self._check_evidence(log_evidence, observed)
        masked = observed < 0
        rows = torch.arange(masked.numel(), device=masked.device).view_as(masked)
        if log_evidence.dim() == 2:
            rows = masked.flatten().cumsum(0).view_as(masked) - 1
        evidence = log_evidence.reshape(-1, log_evidence.shape[-1])

        log_leaf, log_scale = self._leaves(evidence, rows, observed, self.dtype)
        log_beta, log_mass = chain_mass(self, log_leaf)
        lost = log_mass.isneginf()
        if lost.any() and self.dtype != (wide := widest(self.device)):
            # float32 weights reach 87 nats down. Mass that lies deeper is small, not impossible.
            log_leaf[lost], log_scale[lost] = self._leaves(evidence, rows[lost], observed[lost], wide)
            log_beta[lost], log_mass[lost] = chain_mass(self, log_leaf[lost])
        return Posterior.build(self, evidence, rows, observed, log_leaf, log_scale, log_beta, log_mass)

    def log_partition(self, log_evidence: Tensor, observed: Tensor | None = None) -> Tensor:
        """[B]: log Z, the evidence's total mass, with hard evidence at observed positions."""
        return self.evaluate(log_evidence, observed).log_partition

    def latent_posterior(self, log_evidence: Tensor, observed: Tensor | None = None) -> Tensor:
        """[B, T, H]: p(z_t | evidence)."""
        return self.evaluate(log_evidence, observed).latent_posterior()

    def token_marginals(self, log_evidence: Tensor, observed: Tensor | None = None) -> Tensor:
        """[B, T, V]: exact p(x_t | evidence), one-hot where observed."""
        return self.evaluate(log_evidence, observed).token_marginals()

    def sample_latents(
        self,
        log_evidence: Tensor,
        observed: Tensor | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        *,
        uniforms: Tensor | None = None,
    ) -> Tensor:
        """[B, T] int64: one joint latent path a row, drawn from p(z | evidence); see `Posterior.sample`."""
        return self.evaluate(log_evidence, observed).sample(generator, uniforms=uniforms)

    def max_latents(self, log_evidence: Tensor, observed: Tensor | None = None) -> Tensor:
        """[B, T] int64: the most likely latent path of each row (Viterbi)."""
        return self.evaluate(log_evidence, observed).max()

    def couple(self, log_evidence: Tensor, latents: Tensor) -> Tensor:
        """[B, T, V]: log evidence plus log emission of `latents` [B, T], the log of p(x_t | z_t, evidence) up to scale.

        A token that the latent never emits is -inf.
        """
        positions = torch.arange(self.num_positions, device=latents.device).expand_as(latents)
        return self.log_emission(latents, positions, log_evidence.shape[-1]).add_(log_evidence)

    def log_emission(self, latents: Tensor, positions: Tensor, vocab_size: int) -> Tensor:
        """[..., V]: log p(x | z) of the given latents at the given positions, over the first `vocab_size` tokens."""
        table = self.emission[..., :vocab_size]
        picked = table[latents] if table.dim() == 2 else table[positions, latents]
        return picked.to(self.dtype).log_()

    def hard_leaves(self, positions: Tensor, tokens: Tensor) -> Tensor:
        """[N, H]: log p(token | z) of N known tokens at N positions."""
        picked = self.emission[:, tokens].T if self.emission.dim() == 2 else self.emission[positions, :, tokens]
        return picked.to(self.dtype).log()

    def by_table(self, positions: Tensor, vocab_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Split N positions into parts that share an emission table: (table [H, V], indices into the N)."""
        table = self.emission[..., :vocab_size]
        if table.dim() == 2:
            groups = [(table, torch.arange(len(positions), device=positions.device))]
        else:
            groups = [(table[t], (positions == t).nonzero()[:, 0]) for t in range(self.num_positions)]
        for part_of_table, indices in groups:
            for part in indices.split(_ROWS_AT_A_TIME):
                if len(part):
                    yield part_of_table, part

    def _leaves(self, evidence: Tensor, rows: Tensor, observed: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Log leaves [B, T, H] up to a scale for each position, and that log scale [B, T]."""
        masked = observed < 0
        _, positions = masked.nonzero(as_tuple=True)
        soft = torch.empty(len(positions), self.num_latents, dtype=self.dtype, device=self.device)
        scale = torch.empty(len(positions), dtype=self.dtype, device=self.device)
        evidence_rows = rows[masked]
        for table, part in self.by_table(positions, evidence.shape[-1]):
            weights = evidence[evidence_rows[part]].to(dtype)
            top = weights.amax(-1, keepdim=True)
            usable = top.isfinite()
            weights.sub_(top.masked_fill(~usable, math.inf)).exp_()
            mass = _weighted_sum(weights, table).to(dtype)
            soft[part] = mass.where(usable, 0).log().to(self.dtype)
            scale[part] = top.where(usable, 0)[:, 0].to(self.dtype)

        log_leaf = torch.empty(*observed.shape, self.num_latents, dtype=self.dtype, device=self.device)
        log_leaf[masked] = soft
        _, known = (~masked).nonzero(as_tuple=True)
        log_leaf[~masked] = self.hard_leaves(known, observed[~masked])
        return log_leaf, torch.zeros_like(log_leaf[..., 0]).masked_scatter(masked, scale)

    def _check_evidence(self, log_evidence: Tensor, observed: Tensor | None) -> Tensor:
        shape = list(log_evidence.shape)
        if observed is None:
            if log_evidence.dim() != 3:
                raise ValueError(f"`log_evidence` of shape {shape} needs `observed`, or the shape [B, T, V]")
            observed = torch.full(shape[:2], -1, device=log_evidence.device)
        if observed.dim() != 2 or observed.shape[1] != self.num_positions:
            raise ValueError(
                f"evidence for windows of shape {list(observed.shape)} does not fit this circuit; "
                f"it must be [B, {self.num_positions}]"
            )
        rows = list(observed.shape) if log_evidence.dim() == 3 else [int((observed < 0).sum())]
        if shape[:-1] != rows or shape[-1] > self.vocab_size:
            raise ValueError(
                f"`log_evidence` has shape {shape}; it must be {[*rows, self.vocab_size]} (or fewer tokens)"
            )
        return observed.long()


def _weighted_sum(weights: Tensor, table: Tensor) -> Tensor:
    """[M, H]: sum_v weights[m, v] table[h, v], read once."""
    if weights.dtype != torch.float64 or table.dtype == torch.float64:
        return weights.to(table.dtype) @ table.T
    columns = zip(weights.split(_COLUMNS_AT_A_TIME, 1), table.split(_COLUMNS_AT_A_TIME, 1), strict=True)
    return sum(some_weights @ some_columns.T.double() for some_weights, some_columns in columns)
