"""The path losses that Open-dLLM's checkpoints were trained with: sure tokens, those written first, weigh more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lm_eval_codd.training.objectives.token_losses import NO_LABEL, mean_or_zero, token_losses

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

    from lm_eval_codd.backbones import Backbone
    from lm_eval_codd.training.fine_tuning_settings import FineTuningConfig
    from lm_eval_codd.training.objectives.batch import Batch


@dataclass(frozen=True, slots=True)
class Path:
    """See the module."""

    variant: str
    trains_embeddings: ClassVar[bool] = True

    @classmethod
    def build(cls, config: FineTuningConfig, backbone: Backbone, tokenizer: PreTrainedTokenizerFast) -> Path:
        """See `OBJECTIVES`."""
        assert config.variant is not None  # the settings have filled it in
        return cls(config.variant)

    def loss(self, backbone: Backbone, batch: Batch, step: int, total: int) -> Tensor:
        """See `Objective`."""
        masked, ratios = batch.masks()
        logits = batch.logits(backbone, batch.answers.masked_fill(masked, backbone.mask_id))
        return path_loss(logits, batch.labels(masked).to(logits.device), ratios.to(logits.device), self.variant)


def path_loss(logits: Tensor, labels: Tensor, mask_ratio: Tensor, variant: str) -> Tensor:
    """Mean over labelled tokens of l_i and of p_i l_i, p_i = exp(-l_i) without a gradient, as each code weighs them.

    `open_dllm_qwen2`: mean(l) + mean(p l / t). `open_dllm_qwen3`: mean(l) + mean(p l). `cdlm_fork_qwen2`:
    mean((1 + p) l / t).

    Args:
        logits: [..., V].
        labels: [...] int64, `NO_LABEL` where no token was masked.
        mask_ratio: [...], t of the sequence that a position belongs to.
        variant: Qwen2 and Qwen3 runs of Open-dLLM optimise different losses, and CDLM's fork a third one.
    """
    losses = token_losses(logits, labels)
    ratio = mask_ratio[labels != NO_LABEL].to(losses.dtype)
    sure = (-losses.detach()).exp() * losses
    if variant == "open_dllm_qwen2":
        return mean_or_zero(losses) + mean_or_zero(sure / ratio)
    if variant == "open_dllm_qwen3":
        return mean_or_zero(losses) + mean_or_zero(sure)
    return mean_or_zero((losses + sure) / ratio)
