"""Conditional log-likelihood per masked token on given answers, against the share of the answer that is masked.

Of each answer, the masked tokens are scored given the others (arXiv 2603.00045, Figures 1 and 2): one after the other
(`sequential`, left to right), all at once by the backbone (`one_step`), and all at once with the circuit (`coupled`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.likelihood import stream, warn_of_masks
from lm_eval_codd.likelihood.asking import Ask, Estimate
from lm_eval_codd.likelihood.draws import of_positions
from lm_eval_codd.settings import LikelihoodConfig, RouterOptions

if TYPE_CHECKING:
    from lm_eval_codd.backbones.protocols import Backbone
    from lm_eval_codd.circuits.hmm import HMM
    from lm_eval_codd.likelihood.asking import Estimator, Target

SEQUENTIAL, ONE_STEP, COUPLED = "sequential", "one step", "with the circuit"
_RESAMPLES: Final = 1000


@dataclass(frozen=True)
class Mean:
    """Nats a masked token, with a 95 % bootstrap band over documents."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Gap:
    """What was measured at each ratio.

    Attributes:
        ratios: shares of masked tokens.
        means: by kind, a mean for each ratio.
        gain: with the circuit against one step, paired by document; empty without a circuit.
    """

    ratios: tuple[float, ...]
    means: dict[str, tuple[Mean, ...]]
    gain: tuple[Mean, ...] = ()

    @property
    def helps_until(self) -> float | None:
        """The largest ratio up to which the circuit's gain is above 0 within its band; None where it never is.

        So it is without a circuit.
        """
        if not self.gain:
            return None
        helping = None
        for ratio, gain in sorted(zip(self.ratios, self.gain, strict=True), key=lambda pair: pair[0]):
            if not gain.low > 0:  # nor where it is no number: a token that both rule out
                break
            helping = ratio
        return helping


def measure(
    backbone: Backbone,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    ratios: Sequence[float],
    circuit: HMM | None = None,
    *,
    seed: int = 1234,
    pc_temperature: float = 1.0,
    router: RouterOptions | None = None,
    batch_size: int = 32,
    on_pass: Callable[[int], object] = lambda num_canvases: None,
) -> Gap:
    """Measure the gap on (prompt ids, answer ids).

    Masks depend on the seed and the prompt, grow with the ratio, and are the same for every kind.

    Args:
        backbone: the masked diffusion language model.
        pairs: at least one.
        ratios: above 0 and at most 1.
        circuit: None leaves the third kind out.
        seed: of masks and resampling.
        pc_temperature: of the evidence; 1 leaves the backbone's predictions as they are.
        router: of mixtures of experts; None: as the checkpoint was trained.
        batch_size: canvases in a pass.
        on_pass: as of `likelihood.stream`.
    """
    warn_of_masks(backbone, (answer for _, answer in pairs))
    of_experts = {} if router is None else vars(router)
    config = LikelihoodConfig(seed=seed, pc_frac=1.1, pc_temperature=pc_temperature, **of_experts)
    kinds: dict[str, tuple[Callable[..., Estimator], HMM | None]] = {
        SEQUENTIAL: (_sequential, None),
        ONE_STEP: (_one_step, None),
    }
    if circuit is not None:
        kinds[COUPLED] = (_one_step, circuit)
    counts = torch.tensor([[num_masked(len(answer), ratio) for _, answer in pairs] for ratio in ratios])
    sums = {}
    for kind, (estimator, coupled) in kinds.items():
        sums[kind] = torch.zeros(len(ratios), len(pairs), dtype=torch.float64)
        for row, ratio in enumerate(ratios):
            estimate = partial(estimator, ratio=ratio)
            for done in stream(
                *(backbone, pairs, config, coupled), batch_size=batch_size, on_pass=on_pass, estimator=estimate
            ):
                sums[kind][row, done.index] = done.likelihood.value
    picks = torch.randint(len(pairs), (_RESAMPLES, len(pairs)), generator=torch.Generator().manual_seed(seed))

    def means_of(values: Tensor) -> tuple[Mean, ...]:
        return tuple(_mean(*row, picks) for row in zip(values, counts, strict=True))

    means = {kind: means_of(values) for kind, values in sums.items()}
    gain = means_of(sums[COUPLED] - sums[ONE_STEP]) if circuit is not None else ()
    return Gap(tuple(ratios), means, gain)


def num_masked(length: int, ratio: float) -> int:
    """Masked tokens of an answer: at least one."""
    return max(1, round(ratio * length))


def _mask(target: Target, ratio: float) -> Tensor:
    """[1, n] bool."""
    rank = of_positions(target, range(1)).argsort(dim=1).argsort(dim=1)
    return rank < num_masked(len(target), ratio)


def _one_step(target: Target, config: LikelihoodConfig, *, ratio: float) -> Estimator:
    mask = _mask(target, ratio)
    told = yield Ask(mask, mask)
    return Estimate(float(told.together), 0.0)


def _sequential(target: Target, config: LikelihoodConfig, *, ratio: float) -> Estimator:
    columns = _mask(target, ratio)[0].nonzero()[:, 0]
    next_one = torch.zeros(len(columns), len(target), dtype=torch.bool)
    next_one[torch.arange(len(columns)), columns] = True
    left = torch.zeros_like(next_one)
    left[:, columns] = torch.ones(len(columns), len(columns), dtype=torch.bool).triu()
    told = yield Ask(left, next_one)
    return Estimate(float(told.together.sum()), 0.0)


def _mean(sums: Tensor, counts: Tensor, picks: Tensor) -> Mean:
    resampled = sums[picks].sum(dim=1) / counts[picks].sum(dim=1)
    low, high = resampled.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Mean(float(sums.sum() / counts.sum()), low, high)
