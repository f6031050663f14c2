"""`sample_dit`: rows of ids from noise.

What a row becomes depends on its index, the seed and the settings, never on the rows beside it. Only positions that
may change are looked at, and their V columns a bounded piece at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lm_eval_codd.dit.requirements import check_call, check_finite, check_goes_with_circuit, check_rows
from lm_eval_codd.dit.samplers import make_predictor
from lm_eval_codd.dit.samplers.autoregressive import left_to_right
from lm_eval_codd.dit.samplers.clamp import Clamp
from lm_eval_codd.dit.samplers.coupled import Coupled
from lm_eval_codd.dit.samplers.draws import by_inverse, by_race, float32_numbers
from lm_eval_codd.dit.samplers.greedy import likeliest
from lm_eval_codd.dit.samplers.predictor import Predictor, Step, one_hot
from lm_eval_codd.dit.schedules import sampling_times, sigma
from lm_eval_codd.tensors.noise import Stream, row_keys, uniforms

if TYPE_CHECKING:
    from lm_eval_codd.circuits import HMM
    from lm_eval_codd.dit.model import DiT

OnStep = Callable[[int, Tensor, Tensor], None]


class _Pair(NamedTuple):
    tokens: list[int]
    num_forward: int


class Sample(_Pair):
    """(tokens, num_forward): a row's ids, and how often the network saw it (NFE).

    precision: `float64`, or `float32`, whose coarse noise lowers entropy and generative perplexity alike.
    num_circuit: circuit evaluations, one a window whose gate was open.
    """

    precision: str
    num_circuit: int

    def __new__(cls, tokens: list[int], num_forward: int, precision: str, num_circuit: int = 0) -> Sample:
        """See the class."""
        sample = super().__new__(cls, tokens, num_forward)
        sample.precision, sample.num_circuit = precision, num_circuit
        return sample


@torch.inference_mode()
def sample_dit(
    dit: DiT,
    num_samples: int,
    length: int,
    steps: int | None = None,
    predictor: str = "ancestral",
    noise_removal: str = "ancestral",
    p_nucleus: float = 1.0,
    use_float64: bool = True,
    seed: int = 1234,
    prior: Tensor | None = None,
    uniforms: Callable[[int], Tensor] | None = None,
    on_step: OnStep | None = None,
    psi: tuple[Tensor, Tensor] | None = None,
    *,
    circuit: HMM | None = None,
    pc_frac: float = 0.3,
    reverse_frac: bool = False,
    batch_size: int | None = None,
    prompts: Sequence[Sequence[int]] | None = None,
    indices: Sequence[int] | None = None,
    on_pass: Callable[[], None] = lambda: None,
) -> list[Sample]:
    """Sample rows of ids.

    Args:
        dit: the model.
        num_samples: rows.
        length: ids of a row.
        steps: of the grid of times from 1 to 1e-5; not read for ar, which goes from left to right.
        predictor: `ancestral` (of sedd an extension without reference), `analytic` (sedd, mdlm), `psi` (duo, mdlm).
        noise_removal: what comes after the grid: `ancestral` (of analytic, its denoising step), `greedy` (the likeliest
            clean token), or `none`.
        p_nucleus: top-p on the predicted clean token, for `ancestral`.
        use_float64: of weights and noise. Published figures of DUO are of float64; float32 lowers entropy.
        seed: of the rows' own draws.
        prior: [B, L] ids to start from, in place of drawn ones; of ar the first column, or [B, 1].
        uniforms: from a step's number to [B, L, V] numbers in (0, 1), from which ids are drawn in their dtype as
            official code does; of ar, Gumbel noise [B, V]. In place of the rows' own draws: for tests.
        on_step: called with a step's number, its weights q [B, L, V] and the ids after it. Not for greedy removal, in
            which nothing is drawn. It holds all of q: for tests.
        psi: times [T + 1] and shares of the posterior [T + 1], for `predictor=psi`: `psi_profile` makes them.
        circuit: couples the tokens that leave the mask in one step, in windows of its length (mdlm, sedd, d3pm; an
            extension without reference).
        pc_frac: the circuit speaks where the share of masked positions of a window is strictly below.
        reverse_frac: or strictly above.
        batch_size: rows at once; None: all of them. What a row becomes is the same.
        prompts: ids that each row begins with, set again after every draw (clamped); of ar, which begins with the first
            of them, a given beginning. For masks exact in spirit; for duo a heuristic: it never saw clean tokens beside
            noise. None: no row has any.
        indices: of each row among the samples of its seed and prompt; None: 0 to num_samples - 1.
        on_pass: called after each step of a batch.

    Returns:
        One `Sample` a row, which is the pair (tokens, num_forward).

    Raises:
        ValueError: one line: a setting that this model has no use for.
    """
    check_call(dit, num_samples, length, steps, predictor, noise_removal, p_nucleus, prior, uniforms, psi, batch_size)
    begins = [()] * num_samples if prompts is None else [tuple(prompt) for prompt in prompts]
    numbers = range(num_samples) if indices is None else indices
    check_rows(dit, num_samples, length, begins, numbers)
    coupled = None
    if circuit is not None:
        for_tests = uniforms is not None or on_step is not None
        coupled = Coupled(dit, circuit, pc_frac, reverse_frac)
        check_goes_with_circuit(predictor, noise_removal, p_nucleus, use_float64, for_tests)
    keys = row_keys(seed, begins, numbers, dit.device)
    size = batch_size or num_samples
    samples: list[Sample] = []
    for start in range(0, num_samples, size):
        rows = slice(start, start + size)
        noise = _of_rows(uniforms, rows)
        begun = None if prior is None else prior[rows].to(dit.device).long()
        clamp = Clamp.of(begins[rows], length, dit.device)
        if dit.autoregressive is not None:
            first = torch.full_like(keys[rows], dit.bos_id) if begun is None else begun[:, 0]  # type: ignore[arg-type]
            tokens = left_to_right(dit, first, length, keys[rows], use_float64, noise, on_step, clamp, on_pass)
            num_forward, num_circuit = torch.full_like(first, length - 1), torch.zeros_like(first)
        else:
            sampler = _Sampler(
                dit,
                make_predictor(predictor, dit.diffusion, p_nucleus),
                keys[rows],
                length,
                use_float64,
                noise,
                coupled,
                clamp,
                on_pass,
            )
            times, kappas = (sampling_times(steps or 1), None) if psi is None else psi
            tokens, num_forward, num_circuit = sampler.run(begun, times, kappas, noise_removal, on_step)
        precision = "float64" if use_float64 else "float32"
        each = zip(tokens.tolist(), num_forward.tolist(), num_circuit.tolist(), strict=True)
        samples += [Sample(ids, seen, precision, spoken) for ids, seen, spoken in each]
    return samples


def _of_rows(noise: Callable[[int], Tensor] | None, rows: slice) -> Callable[[int], Tensor] | None:
    return None if noise is None else lambda step: noise(step)[rows]


@dataclass(frozen=True)
class _Sampler:
    """One batch of rows on its way back."""

    dit: DiT
    predictor: Predictor
    keys: Tensor
    length: int
    use_float64: bool
    noise: Callable[[int], Tensor] | None
    coupled: Coupled | None
    clamp: Clamp
    on_pass: Callable[[], None]

    def run(
        self, tokens: Tensor | None, times: Tensor, kappas: Tensor | None, removal: str, on_step: OnStep | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """[B, L] ids, and [B] how often the network saw each row, and the circuit spoke."""
        dit = self.dit
        steps = self._steps(times, kappas, removal)
        if tokens is None:
            tokens = dit.diffusion.prior(self._own_numbers(0, Stream.PRIOR))
        tokens = self.clamp(tokens)
        is_cached = self.predictor.is_cached and not dit.config.time_conditioning
        every = stale = torch.ones(len(tokens), dtype=torch.bool, device=dit.device)
        num_forward, num_circuit = (torch.zeros_like(stale, dtype=torch.int64) for _ in range(2))
        finite = stale.all()
        hidden: Tensor | None = None
        for step in steps:
            is_greedy = step.is_removal and removal == "greedy"
            is_kept = is_cached and not is_greedy
            hidden = self._refreshed(hidden if is_kept else None, tokens, stale, step)
            num_forward += stale if is_kept else every
            before = tokens
            if is_greedy:
                tokens = likeliest(dit, tokens, hidden, step.alpha_t)
            else:
                tokens, sound = self._drawn(tokens, hidden, step, on_step)
                finite = finite & sound
                if self.coupled is not None:
                    tokens, spoken = self.coupled.redrawn(before, tokens, hidden, step, self.keys)
                    num_circuit += spoken
            tokens = self.clamp(tokens)
            stale = (tokens != before).any(dim=1) if is_cached else every
            self.on_pass()
        check_finite(dit, finite)
        return tokens, num_forward, num_circuit

    def _steps(self, times: Tensor, kappas: Tensor | None, removal: str) -> list[Step]:
        # In float32, as the reference has them: it shows in the last step, from 1e-5 to 0.
        alphas = self.dit.schedule.alpha(times).float().double().to(self.dit.device)
        shares = [1.0] * len(alphas) if kappas is None else kappas.double().tolist()
        steps = [Step(i, alphas[i], alphas[i + 1], kappa=shares[i]) for i in range(len(alphas) - 1)]
        if removal != "none":
            steps.append(Step(len(steps), alphas[-1], torch.ones_like(alphas[-1]), is_removal=True))
        return steps

    def _refreshed(self, hidden: Tensor | None, tokens: Tensor, again: Tensor, step: Step) -> Tensor:
        """Hidden states [B, L, d], those of some rows anew; of all where there are none."""
        level = sigma(step.alpha_t).expand(len(tokens))
        if hidden is None:
            return self.dit.hidden(tokens, level)
        rows = again.nonzero()[:, 0]
        if len(rows) == len(tokens):
            return self.dit.hidden(tokens, level)
        if len(rows):
            hidden[rows] = self.dit.hidden(tokens[rows], level[rows])
        return hidden

    def _drawn(self, tokens: Tensor, hidden: Tensor, step: Step, on_step: OnStep | None) -> tuple[Tensor, Tensor]:
        """Ids of the next time, and whether all weights were finite."""
        dit, size = self.dit, self.dit.vocab_size
        given = None if self.noise is None else self.noise(step.number).to(dit.device).flatten(0, 1)
        own = self._own_numbers(step.number, Stream.TOKEN) if given is None and self.use_float64 else None
        dtype = given.dtype if given is not None else torch.float64 if self.use_float64 else torch.float32
        wanted = self.predictor.wanted(tokens, step, own if on_step is None else None)
        wanted = wanted & ~self.clamp.fixed
        flat, states = tokens.flatten(), hidden.flatten(0, 1)
        new, sound = flat.clone(), torch.ones((), dtype=torch.bool, device=dit.device)
        everything = None if on_step is None else one_hot(flat, size, dtype)
        for places in wanted.flatten().nonzero()[:, 0].split(dit.piece):
            log_x = dit.diffusion.log_x(dit.head(states[places]), flat[places], step.alpha_t)
            weights = self.predictor.weights(log_x.to(dtype), flat[places], step)
            if everything is not None:
                everything[places] = weights
            if own is not None:
                new[places], sums = by_inverse(weights, own.flatten()[places], dit.diffusion.mask_id)
            else:
                numbers = self._coarse_numbers(places, step) if given is None else given[places]
                new[places], sums = by_race(weights, numbers), weights.sum(dim=-1)
            sound = sound & sums.isfinite().all()
        result = new.view_as(tokens)
        if on_step is not None and everything is not None:
            on_step(step.number, everything.view(*tokens.shape, size), result)
        return result, sound

    def _own_numbers(self, step: int, stream: Stream) -> Tensor:
        """[B, L] float64 numbers of the rows' own."""
        columns = torch.arange(self.length, device=self.keys.device).expand(len(self.keys), -1)
        return uniforms(self.keys, stream, torch.full_like(self.keys, step), columns)

    def _coarse_numbers(self, places: Tensor, step: Step) -> Tensor:
        keys = self.keys[places // self.length]
        number = torch.full_like(keys, step.number)
        return float32_numbers(keys, number, places % self.length, self.dit.vocab_size)
