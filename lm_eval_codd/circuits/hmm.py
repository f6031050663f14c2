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
from functools import cached_property

import torch
from torch import Tensor

from lm_eval_codd.circuits import chain
from lm_eval_codd.circuits.chain import widest
from lm_eval_codd.circuits.emissions import exact_leaves, leaves, log_emission
from lm_eval_codd.circuits.posterior import Posterior, masked_places, no_mass
from lm_eval_codd.tensors.cuda_graphs import CudaGraphs


class HMM:
    """A hidden Markov circuit over windows of `num_positions` tokens.

    Leave its tables unchanged once it was evaluated: what was derived from them is kept.

    Args:
        initial: [H], p(z_0).
        transition: [H, H], row = earlier latent, one for all steps; or [T - 1, H, H], one for each.
        emission: [H, V], one for all positions; or [T, H, V], one for each. May be bfloat16 when the others are
            float32; evidence is then rounded to bfloat16 too, and so are its products after accumulating in float32.
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
        self._backwards, self._draws = CudaGraphs(), CudaGraphs()

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
                digest.update(table.to(device="cpu", dtype=torch.float32).contiguous().numpy().data)
            self._identity = f"sha256:{digest.hexdigest()[:32]}"
        return self._identity

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> HMM:
        """The same circuit elsewhere. bfloat16 narrows the emission table only; the chain stays in float32.

        bfloat16 has to be asked for, on any device: rounding the table alone moves log Z of the demo's circuit by up to
        0.02, whatever the products accumulate in; in float32 it is right to 1e-5.
        """
        dtype_of_chain = torch.float32 if dtype == torch.bfloat16 else dtype
        return HMM(
            self.initial.to(device, dtype_of_chain),
            self.transition.to(device, dtype_of_chain),
            self.emission.to(device, dtype),
            self.num_positions,
            source=self.source,
            identity=self.identity,
        )

    def each_step(self, table: Tensor) -> Tensor:
        """[T - 1, H, H]: a table of transitions (or of their logs), one for each step; a view where they are tied."""
        return table.expand(self.num_positions - 1, self.num_latents, self.num_latents)

    def chain_tables(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Log initial [H] and transitions [T - 1, H, H] in a dtype, as `chain.backward` and `forward` take them."""
        return self.initial.to(dtype).log(), self.each_step(self.transition.to(dtype))

    @cached_property
    def log_chain_tables(self) -> tuple[Tensor, Tensor]:
        """Log initial [H] and log transitions [T - 1, H, H], as `chain.draw` and `chain.best_path` take them."""
        return self.initial.log(), self.each_step(self.transition.log())

    @cached_property
    def least_share(self) -> float:
        """How little a latent may weigh beside another one that evidence favours as much as it can.

        The least p(z_t | z_t-1) p(z_t+1 | z_t), times the least probability that a token has in the latent that emits
        it best. Computed once, by a pass over the tables that waits for the device.
        """
        chain_tables = (table.amin().item() for table in (self.initial, self.transition) if table.numel())
        return min(chain_tables) ** 2 * self.emission.amax(-2).amin().item()

    def stays_in_range(self, dtype: torch.dtype) -> bool:
        """Whether a dtype cannot lose a latent that matters, nor a row's mass, whatever the evidence.

        A latent that its position's evidence puts below the dtype's range weighs nothing then beside the one that
        emits the top token, wherever the chain comes from and leads to. No evidence is impossible.
        """
        return self.least_share >= chain.LEAST_SHARE[dtype]

    @property
    def always_possible(self) -> bool:
        """`stays_in_range` of the circuit's own dtype: nothing has to be looked for and evaluated again."""
        return self.stays_in_range(self.dtype)

    def evaluate(self, log_evidence: Tensor, observed: Tensor | None = None, places: Tensor | None = None) -> Posterior:
        """Condition the circuit on evidence, with one pass over the emission table; the result answers every query.

        It waits for the device once where it has to find the `places`, once where the circuit is not `always_possible`
        (are there rows to run again, in float64 and in log space?), and once where each position has emissions of its
        own. Given the places, that is not at all for a circuit with shared emissions and no tiny probabilities.

        Args:
            log_evidence: [B, T, V], or [M, V] with the masked positions only, in row-major order. Any scale for each
                position: the scale goes into log Z and cancels everywhere else. -inf rules a token out. V may be
                smaller than the circuit's vocabulary: the tokens beyond have no evidence. Evidence at observed
                positions is not read.
            observed: [B, T] int64, the token where known and -1 where masked; None when all are masked.
            places: [M] int64, where the masked positions stand in `observed.flatten()`, in order; None looks for them.
                A caller who gives them answers for them.

        Returns:
            The posterior. A row whose evidence leaves no mass (or holds NaN or +inf) is flagged in
            `Posterior.impossible`: its log Z is -inf, and its other answers are those of the circuit without any
            evidence, so they are finite and in range.

        Raises:
            ValueError: shapes that are not the circuit's.
        """
        observed, places = self._check_evidence(log_evidence, observed, places)
        evidence = log_evidence.reshape(-1, log_evidence.shape[-1])
        if log_evidence.dim() == 3:
            rows = torch.arange(len(evidence), device=observed.device).view_as(observed)
        else:
            rows = (observed < 0).flatten().cumsum(0).sub_(1).view_as(observed)
        which = None if len(evidence) == len(places) else places

        log_leaf, log_scale = leaves(self, evidence, which, places, observed, self.dtype)
        log_beta, log_masses = self._backward(log_leaf)
        if not self.always_possible:
            is_lost = no_mass(log_masses) | chain.runs_out(log_beta) | chain.runs_out(log_leaf, observed[..., None] < 0)
            if len(lost := is_lost.nonzero()[:, 0]):
                known = observed[lost]
                lost_places = masked_places(known)
                which = rows[lost].flatten()[lost_places]
                again, again_scale = exact_leaves(self, evidence, which, lost_places, known)
                log_leaf[lost], log_scale[lost] = again.to(self.dtype), again_scale.to(self.dtype)
                log_beta[lost], log_masses[lost] = self._exact_chain(again)
        return Posterior.build(
            self, evidence, rows, observed, log_leaf, log_scale, log_beta, log_masses, evaluated_places=places
        )

    def chain_mass(self, log_leaf: Tensor) -> tuple[Tensor, Tensor]:
        """The backward chain over leaves [B, T, H]: log beta [B, T, H] up to a scale, and the log mass in parts [B, T].

        Rows that run out of the dtype's range are run again beyond it; looking for them waits for the device, and is
        spared where the circuit is `always_possible`.
        """
        log_beta, log_masses = self._backward(log_leaf)
        if not self.always_possible:
            lost = (no_mass(log_masses) | chain.runs_out(log_beta)).nonzero()[:, 0]
            if len(lost):
                log_beta[lost], log_masses[lost] = self._exact_chain(log_leaf[lost].to(widest(self.device)))
        return log_beta, log_masses

    def draw(self, log_message: Tensor, uniforms: Tensor) -> Tensor:
        """[B, T] int64: `chain.draw` with these tables, of messages [B, T, H] and numbers [B, T]."""
        return self._draws.replay(lambda *given: chain.draw(*self.log_chain_tables, *given), log_message, uniforms)

    def _backward(self, log_leaf: Tensor) -> tuple[Tensor, Tensor]:
        return self._backwards.replay(lambda leaf: chain.backward(*self.chain_tables(self.dtype), leaf), log_leaf)

    def _exact_chain(self, log_leaf: Tensor) -> tuple[Tensor, Tensor]:
        log_beta, log_masses = chain.backward(*self.chain_tables(log_leaf.dtype), log_leaf, chain.passed_on_exactly)
        return log_beta.to(self.dtype), log_masses

    def log_partition(self, log_evidence: Tensor, observed: Tensor | None = None) -> Tensor:
        """[B]: log Z, the total mass of evidence [B, T, V]; arguments and errors here and below are `evaluate`'s."""
        return self.evaluate(log_evidence, observed).log_partition

    def latent_posterior(self, log_evidence: Tensor, observed: Tensor | None = None) -> Tensor:
        """[B, T, H]: p(z_t | evidence), of evidence [B, T, V]."""
        return self.evaluate(log_evidence, observed).latent_posterior()

    def token_marginals(self, log_evidence: Tensor, observed: Tensor | None = None) -> Tensor:
        """[B, T, V]: exact p(x_t | evidence), of evidence [B, T, V]; one-hot where observed."""
        return self.evaluate(log_evidence, observed).token_marginals()

    def sample_latents(
        self,
        log_evidence: Tensor,
        observed: Tensor | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        *,
        uniforms: Tensor | None = None,
    ) -> Tensor:
        """[B, T] int64: one joint latent path a row, drawn from p(z | evidence [B, T, V]); see `Posterior.sample`."""
        return self.evaluate(log_evidence, observed).sample(generator, uniforms=uniforms)

    def max_latents(self, log_evidence: Tensor, observed: Tensor | None = None) -> Tensor:
        """[B, T] int64: the most likely latent path of each row (Viterbi), under evidence [B, T, V]."""
        return self.evaluate(log_evidence, observed).max()

    def couple(self, log_evidence: Tensor, latents: Tensor) -> Tensor:
        """[B, T, V]: log evidence plus log emission of `latents` [B, T], the log of p(x_t | z_t, evidence) up to scale.

        A token that the latent never emits is -inf.
        """
        positions = torch.arange(self.num_positions, device=latents.device).expand_as(latents)
        return log_emission(self, latents, positions, log_evidence.shape[-1]).add_(log_evidence)

    def _check_evidence(
        self, log_evidence: Tensor, observed: Tensor | None, places: Tensor | None
    ) -> tuple[Tensor, Tensor]:
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
        observed = observed.long()
        places = masked_places(observed) if places is None else places
        rows = list(observed.shape) if log_evidence.dim() == 3 else [len(places)]
        if shape[:-1] != rows or shape[-1] > self.vocab_size:
            raise ValueError(
                f"`log_evidence` has shape {shape}; it must be {[*rows, self.vocab_size]} (or fewer tokens)"
            )
        return observed, places
