"""PAPL, planner-aware path learning: tokens that a greedy planner would write next weigh more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from lm_eval_codd.backbones import Backbone
    from lm_eval_codd.training.fine_tuning_settings import FineTuningConfig
    from lm_eval_codd.training.objectives.batch import Batch


@dataclass(frozen=True, slots=True)
class Papl:
    """See the module; `alpha` and `tau` are those of `papl_loss`."""

    alpha: float
    tau: float
    trains_embeddings: ClassVar[bool] = True

    @classmethod
    def build(cls, config: FineTuningConfig, backbone: Backbone, tokenizer: PreTrainedTokenizerFast) -> Papl:
        """See `OBJECTIVES`."""
        return cls(config.alpha, config.tau)

    def loss(self, backbone: Backbone, batch: Batch, step: int, total: int) -> Tensor:
        """See `Objective`."""
        masked, _ = batch.masks()
        logits = batch.logits(backbone, batch.answers.masked_fill(masked, backbone.mask_id))
        device = backbone.device
        return papl_loss(logits, batch.answers.to(device), masked.to(device), self.alpha, self.tau)[0]


def papl_loss(
    logits: Tensor, x0: Tensor, masked: Tensor, alpha: float = 1.0, tau: float = 1.0
) -> tuple[Tensor, dict[str, float]]:
    """Mean over rows of sum_masked (1 + alpha w_i) CE_i / n (pengzhangzhi/PAPL, the README's `papl_loss`).

    w = softmax over a row's masked positions of log p(x0_i) / tau, without a gradient, and n their number. A row
    without masked positions counts as 0.

    Args:
        logits: [B, L, V].
        x0: [B, L] int64, the true tokens.
        masked: [B, L] bool.
        alpha: how much the planner's weights count; 0 is the plain mean.
        tau: of the weights, above 0.

    Returns:
        The loss, and figures under the original's names: `avg_n_masked`, `avg_planner_entropy` (nats, weights floored
        at 1e-8 over the whole row, as there) and `avg_correct_prob_on_masked`.
    """
    losses = cross_entropy(logits.transpose(1, 2), x0, reduction="none")
    num_masked = masked.sum(1).clamp(min=1)
    with torch.no_grad():
        scores = (-losses / tau).masked_fill(~masked, -torch.inf)
        weights = scores.softmax(1).masked_fill(~masked, 0)  # of a row without masks NaN before, 0 after
        floored = weights.clamp(min=1e-8)
        entropy = -(floored * floored.log()).sum(1)
        figures = {
            "avg_n_masked": num_masked.double().mean().item(),
            "avg_planner_entropy": entropy.mean().item(),
            "avg_correct_prob_on_masked": ((-losses).exp() * masked).sum().item() / max(int(masked.sum()), 1),
        }
    # In float32 whatever the logits are, as in the original.
    share = num_masked.float().reciprocal().to(losses.dtype)[:, None]
    loss = (share * (1 + alpha * weights) * losses).where(masked, 0).sum(1).mean()
    return loss, figures
