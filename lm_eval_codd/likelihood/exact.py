"""The mean of `mc` over every mask: 2^n - 1 canvases, so for short targets; other estimators are held against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lm_eval_codd.likelihood.asking import Ask, Estimate
from lm_eval_codd.settings import LONGEST_EXACT

if TYPE_CHECKING:
    from lm_eval_codd.likelihood.asking import Estimator, Target
    from lm_eval_codd.settings import LikelihoodConfig


def exact(target: Target, config: LikelihoodConfig) -> Estimator:
    """Raises `ValueError` for a target of more than `LONGEST_EXACT` tokens."""
    length = len(target)
    if length > LONGEST_EXACT:
        raise ValueError(
            f"`estimator=exact` looks at all masks, and a target has {length} tokens; use estimator=mc, or targets of "
            f"at most {LONGEST_EXACT}"
        )
    masks = (torch.arange(1, 2**length)[:, None] >> torch.arange(length) & 1).bool()
    told = yield Ask(masks, masks)
    num_masked = masks.sum(dim=1)
    num_alike = torch.bincount(num_masked)[num_masked]
    # 1 / n for each number l, n / l for the bound.
    return Estimate(float((told.together / num_masked / num_alike).sum()), 0.0)
