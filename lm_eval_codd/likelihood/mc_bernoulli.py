"""Dream's Monte Carlo bound: every token masked with probability p, and the sum divided by p (arXiv 2508.15487).

p = (1 - eps) t + eps over a ladder of evenly spaced t from a random start. As in the original, the last token is never
masked, nor the first one where there is no prompt, so both stand as given; but unlike there a single token is scored,
and no end token is appended to the target. Samples of small p weigh up to 1000 times: the error is large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.likelihood.draws import as_independent, mean_of_draws, of_counts, of_positions

if TYPE_CHECKING:
    from lm_eval_codd.likelihood.asking import Estimator, Target
    from lm_eval_codd.settings import LikelihoodConfig

EPS: Final = 1e-3


def mc_bernoulli(target: Target, config: LikelihoodConfig) -> Estimator:
    """Estimate the bound from `num_samples` masks."""
    may_be_masked = torch.ones(len(target), dtype=torch.bool)
    may_be_masked[-1] = len(target) == 1
    if not target.prompt_length and len(target) > 2:
        may_be_masked[0] = False

    def draw(draws: range) -> tuple[Tensor, Tensor]:
        level = (of_counts(target, draws)[:1] + torch.arange(len(draws)) / len(draws)) % 1
        probability = (1 - EPS) * level + EPS
        if len(target) == 1:
            probability = torch.ones_like(probability)  # its expectation, which needs no luck
        masks = (of_positions(target, draws) < probability[:, None]) & may_be_masked
        return masks, 1 / probability

    return (yield from mean_of_draws(target, config, config.ladder_size, draw, as_independent))
